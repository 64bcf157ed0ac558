import { createHash, timingSafeEqual } from 'node:crypto';

/**
 * Whether an `Authorization` header carries a secret under one of the schemes.
 * The scheme word is case-insensitive; the comparison takes the same time for every secret.
 * @param secret null = the scheme is disabled and nothing matches
 */
export function hasSecret(
  header: string | undefined,
  schemes: readonly string[],
  secret: string | null,
): boolean {
  const match = /^(\S+) +(\S+) *$/.exec(header ?? '');
  if (secret === null || match === null) return false;
  const [, scheme = '', presented = ''] = match;
  const isKnownScheme = schemes.some((known) => known.toLowerCase() === scheme.toLowerCase());
  return timingSafeEqual(digest(presented), digest(secret)) && isKnownScheme;
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
