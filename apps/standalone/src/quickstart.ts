import { AppError } from '#libs/kernel';
import type { ServedCatalog } from '#libs/keys/core';
import type { Environment } from '#libs/platform/config';

import { keepQuickstartKey, type Secrets } from './secrets.js';

/** Where the command line looks for an installation by itself. */
const DEFAULT_DATA_DIR = '.tollgate';

/** What the ready-made key may spend in all, USD; enough to try, too little to hurt. */
const QUICKSTART_BUDGET_USD = 1;

/**
 * The ready-made virtual key of an installation: made at first start through the same API that
 * people use, kept in `secrets.json`.
 * @throws AppError `standalone.quickstart` when the API refuses
 */
export async function quickstartKey(
  url: string,
  dataDir: string,
  secrets: Secrets,
): Promise<string> {
  if (secrets.QUICKSTART_KEY !== undefined) return secrets.QUICKSTART_KEY;
  const response = await fetch(`${url}/api/keys`, {
    method: 'POST',
    headers: {
      authorization: `ADMIN ${secrets.ADMIN_API_KEY}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({
      name: 'quickstart',
      team_id: 'default',
      max_budget: QUICKSTART_BUDGET_USD,
    }),
  });
  if (response.status !== 201) {
    throw new AppError({
      code: 'standalone.quickstart',
      kind: 'internal',
      publicMessage: `the ready-made key was refused with status ${response.status}`,
    });
  }
  const { key } = (await response.json()) as { readonly key: string };
  keepQuickstartKey(dataDir, key);
  return key;
}

/** What a first call needs. */
export interface FirstCall {
  readonly url: string;
  readonly key: string;
  readonly model: string;
  /** `DATA_DIR` as given; the command line looks in the default one by itself. */
  readonly dataDir: string;
  readonly isSimulated: boolean;
}

/** What a newcomer can paste next. */
export function quickstartText({ url, key, model, dataDir, isSimulated }: FirstCall): string {
  const prefix = dataDir === DEFAULT_DATA_DIR ? '' : `DATA_DIR=${shellQuoted(dataDir)} `;
  return `
A first call${isSimulated ? ', answered by the built-in simulator' : ''}:

  curl ${url}/v1/chat/completions \\
    -H "Authorization: Bearer ${key}" \\
    -H "Content-Type: application/json" \\
    -d '{"model":"${model}","messages":[{"role":"user","content":"Hello"}]}'

What it cost, per key and per team:

  ${prefix}bin/tollgate usage query --by key,team
`;
}

/**
 * The first model of a catalogue that can be called as things are: its provider needs no credential,
 * or the environment holds it. Null when none can.
 */
export function callableModel(
  catalog: ServedCatalog,
  environment: Environment,
): { readonly model: string; readonly isSimulated: boolean } | null {
  for (const { id, routes } of catalog.models) {
    for (const route of routes) {
      const provider = catalog.providers.find(({ name }) => name === route.provider);
      if (provider === undefined) continue;
      const { credentialEnv, name } = provider;
      if (credentialEnv === null || environment[credentialEnv]) {
        return { model: id, isSimulated: name === 'simulator' };
      }
    }
  }
  return null;
}

function shellQuoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
