import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Random } from '#libs/kernel';

/** Secrets of a standalone installation, as kept in `secrets.json`. */
export interface Secrets {
  readonly ADMIN_API_KEY: string;
  /** `v1:<base64 of 32 bytes>`, newest first. */
  readonly KEY_PEPPERS: string;
  /** A ready-made virtual key for a first call; absent until it was made. */
  readonly QUICKSTART_KEY?: string;
}

/** Random bytes in a generated secret. */
const SECRET_BYTES = 32;

const FILE_NAME = 'secrets.json';

/**
 * The secrets of `dataDir`: what the environment gives wins, what is missing is generated once and
 * kept in `secrets.json` (mode 0600).
 */
export function loadSecrets(
  dataDir: string,
  given: { readonly adminApiKey: string | null; readonly keyPeppers: string | null },
  random: Random,
): Secrets {
  const kept = readSecrets(dataDir);
  // A given secret is not doubled by a generated one: the file holds only what nobody else keeps.
  const made: Partial<Secrets> = {};
  if (given.adminApiKey === null && kept.ADMIN_API_KEY === undefined) {
    Object.assign(made, { ADMIN_API_KEY: text(random) });
  }
  if (given.keyPeppers === null && kept.KEY_PEPPERS === undefined) {
    const pepper = Buffer.from(random.bytes(SECRET_BYTES)).toString('base64');
    Object.assign(made, { KEY_PEPPERS: `v1:${pepper}` });
  }
  const all = { ...kept, ...made };
  if (Object.keys(made).length > 0) writeSecrets(dataDir, all);
  const { QUICKSTART_KEY } = all;
  return {
    ...(QUICKSTART_KEY === undefined ? {} : { QUICKSTART_KEY }),
    ADMIN_API_KEY: given.adminApiKey ?? all.ADMIN_API_KEY!,
    KEY_PEPPERS: given.keyPeppers ?? all.KEY_PEPPERS!,
  };
}

/** Keeps the ready-made key beside the other secrets. */
export function keepQuickstartKey(dataDir: string, key: string): void {
  writeSecrets(dataDir, { ...readSecrets(dataDir), QUICKSTART_KEY: key });
}

function text(random: Random): string {
  return Buffer.from(random.bytes(SECRET_BYTES)).toString('base64url');
}

function readSecrets(dataDir: string): Partial<Secrets> {
  const path = join(dataDir, FILE_NAME);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Partial<Secrets>) : {};
}

/** Replaces the file in one step, so that a crash leaves the old or the new one. */
function writeSecrets(dataDir: string, secrets: Partial<Secrets>): void {
  const path = join(dataDir, FILE_NAME);
  const draft = `${path}.new`;
  writeFileSync(draft, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600, flush: true });
  chmodSync(draft, 0o600);
  renameSync(draft, path);
}
