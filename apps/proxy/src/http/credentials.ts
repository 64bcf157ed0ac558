import type { IncomingMessage } from 'node:http';

/** Lengths of strings that can be a key, characters; anything else is not even hashed. */
const KEY_CHARS = { least: 8, most: 256 } as const;

/**
 * The key a data-plane request presents: `Authorization` with Bearer or APIKEY, else `x-api-key`, else
 * `api-key`. An `Authorization` of another scheme is not passed over for a weaker header.
 * @returns null when there is none that could be a key
 */
export function presentedKey(req: IncomingMessage): string | null {
  const { headers } = req;
  const { authorization } = headers;
  if (authorization !== undefined) return plausible(schemedKey(authorization));
  return plausible(headers['x-api-key'] ?? headers['api-key'] ?? null);
}

/** Whether the query string carries a key; such requests are refused, because queries end in logs. */
export function hasQueryKey(url: string): boolean {
  const query = url.indexOf('?');
  return query >= 0 && /[?&](api_key|key)=/i.test(url.slice(query));
}

function schemedKey(authorization: string): string | null {
  const space = authorization.indexOf(' ');
  if (space !== 6) return null;
  const scheme = authorization.slice(0, space).toLowerCase();
  if (scheme !== 'bearer' && scheme !== 'apikey') return null;
  return authorization.slice(space + 1).trim();
}

function plausible(key: string | string[] | null): string | null {
  if (typeof key !== 'string') return null;
  return key.length >= KEY_CHARS.least && key.length <= KEY_CHARS.most ? key : null;
}
