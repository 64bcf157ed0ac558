import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';

import { AppError } from '#libs/kernel';

/** Pepper versions that may be live at once: the one in use and those being retired. */
const MAX_PEPPERS = 4;

/** Least strength of a pepper, bytes. @source NIST SP 800-107 section 5.3.4: at least the output length */
const MIN_PEPPER_BYTES = 32;

/** One live pepper: the secret half of the keyed digest that finds a key. */
export interface Pepper {
  /** `v<number>`, as stored beside each digest. */
  readonly version: string;
  readonly secret: KeyObject;
}

/** Every live pepper, newest first; new digests are made with the first. */
export type Peppers = readonly [Pepper, ...Pepper[]];

/** The outcome of reading `KEY_PEPPERS`: the peppers, or every fault of the text. */
export type PeppersReading =
  | { readonly peppers: Peppers; readonly faults: readonly [] }
  | { readonly peppers: null; readonly faults: readonly string[] };

/**
 * Reads `KEY_PEPPERS`, for example `v2:<base64>,v1:<base64>`: newest first, at most 4, each secret at
 * least 32 bytes. Faults never repeat the secret.
 */
export function readPeppers(text: string): PeppersReading {
  const parts = text.split(',').map((part) => part.trim());
  const faults: string[] = [];
  if (parts.length > MAX_PEPPERS) faults.push(`at most ${MAX_PEPPERS} versions may be live`);
  const seen = new Set<string>();
  const peppers: Pepper[] = [];
  for (const [index, part] of parts.slice(0, MAX_PEPPERS).entries()) {
    const match = /^(v[1-9][0-9]{0,3}):([A-Za-z0-9+/_-]{1,1024}={0,2})$/.exec(part);
    if (match === null) {
      faults.push(`entry ${index + 1} has not the form v<number>:<base64>`);
      continue;
    }
    const version = match[1]!;
    const bytes = Buffer.from(match[2]!, 'base64');
    if (seen.has(version)) faults.push(`version ${version} is named twice`);
    seen.add(version);
    if (bytes.length < MIN_PEPPER_BYTES) {
      faults.push(`version ${version} is shorter than ${MIN_PEPPER_BYTES} bytes`);
    }
    peppers.push({ version, secret: createSecretKey(bytes) });
  }
  const [newest, ...older] = peppers;
  if (faults.length > 0 || newest === undefined) return { peppers: null, faults };
  return { peppers: [newest, ...older], faults: [] };
}

/**
 * `readPeppers` for callers that have nothing to say about faults.
 * @throws AppError `keys.peppers_malformed` listing every fault
 */
export function parsePeppers(text: string): Peppers {
  const reading = readPeppers(text);
  if (reading.peppers !== null) return reading.peppers;
  throw new AppError({
    code: 'keys.peppers_malformed',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `KEY_PEPPERS: ${reading.faults.join('; ')}`,
  });
}

/** HMAC-SHA-256 of the whole presented string under one pepper, 64 hex digits. */
export function keyDigest(pepper: Pepper, presented: string): string {
  return createHmac('sha256', pepper.secret).update(presented, 'utf8').digest('hex');
}

/**
 * The digests under which a presented string may be stored, one per live pepper, newest first,
 * 64 hex digits each. Nothing inside the string is parsed. A KeyObject saves the per-call import.
 */
export function keyDigests(peppers: Peppers, presented: string): string[] {
  return peppers.map((pepper) => keyDigest(pepper, presented));
}
