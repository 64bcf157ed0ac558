import { uuidHex, type KeyId, type Random } from '#libs/kernel';

/** What every generated key starts with. */
export const KEY_PREFIX = 'sk-mp';

/** Random bytes in the secret part of a key; 43 characters of base64url. */
const SECRET_BYTES = 32;

/** The accepted form of generated keys; older ones have 16 hex digits and a shorter secret. */
const GENERATED_KEY_PATTERN = /^sk-mp-[0-9a-f]{16,32}-[A-Za-z0-9_-]{32,}$/;

/** Longest string that is looked at as a credential, characters. */
export const MAX_PRESENTED_CHARS = 256;

/**
 * Mints the full text of a key: `sk-mp-<32 hex of the id>-<43 base64url>`, 82 characters. It is shown
 * once; only its keyed digest may be stored.
 */
export function mintKey(random: Random, keyId: KeyId): string {
  const secret = Buffer.from(random.bytes(SECRET_BYTES)).toString('base64url');
  return `${KEY_PREFIX}-${uuidHex(keyId)}-${secret}`;
}

/** Whether a string has the form of a generated key; says nothing about its validity. */
export function isGeneratedKey(presented: string): boolean {
  return presented.length <= MAX_PRESENTED_CHARS && GENERATED_KEY_PATTERN.test(presented);
}

/** The refusals of a key whose digest is unknown, by its shape. */
export type UnknownKeyReason = 'Invalid key format' | 'Invalid key prefix' | 'Key not found';

/** Why an unknown string is no key, judged by its parts; only for the literals of key validation. */
export function reasonOfUnknownKey(presented: string): UnknownKeyReason {
  const parts = presented.split('-', 4);
  if (parts.length < 4) return 'Invalid key format';
  return `${parts[0]}-${parts[1]}` === KEY_PREFIX ? 'Key not found' : 'Invalid key prefix';
}

/** The id written inside a generated key, 16 to 32 hex digits; null when it has none. */
export function idInsideKey(presented: string): string | null {
  return isGeneratedKey(presented) ? (presented.split('-', 3)[2] ?? null) : null;
}
