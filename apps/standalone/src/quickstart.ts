import { AppError } from '#libs/kernel';

import { keepQuickstartKey, type Secrets } from './secrets.js';

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

/** What a newcomer can paste next. @param model a model that the simulator answers */
export function quickstartText(url: string, key: string, model: string): string {
  return `
A first call, answered by the built-in simulator:

  curl ${url}/v1/chat/completions \\
    -H "Authorization: Bearer ${key}" \\
    -H "Content-Type: application/json" \\
    -d '{"model":"${model}","messages":[{"role":"user","content":"Hello"}]}'

What it cost, per key and per team:

  bin/tollgate usage query --by key,team
`;
}
