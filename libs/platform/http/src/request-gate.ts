import type { IncomingMessage } from 'node:http';

import { AppError } from '#libs/kernel';

/** Headers that decide who asks or what is asked; each may come once. */
const SINGLE_HEADERS: ReadonlySet<string> = new Set([
  'host',
  'authorization',
  'x-api-key',
  'x-goog-api-key',
  'api-key',
  'content-type',
  'content-length',
  'idempotency-key',
  'x-user-id',
]);

/** More headers than this are refused. */
const MAX_HEADERS = 100;

/**
 * Refuses requests that two parsers could read differently: repeated deciding headers, absolute-form
 * targets, header names that could reach a prototype, too many headers.
 * @returns `http.ambiguous`, 400 in every dialect; null for a request that may pass
 */
export function gateRequest({ rawHeaders: raw, url }: IncomingMessage): AppError | null {
  if (raw.length > MAX_HEADERS * 2) return ambiguous('too many headers');
  if (url?.[0] !== '/') return ambiguous('the target must be a path');
  let seen: Set<string> | undefined;
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!.toLowerCase();
    if (name === '__proto__') return ambiguous('a header name is not allowed');
    if (!SINGLE_HEADERS.has(name)) continue;
    seen ??= new Set();
    if (seen.has(name)) return ambiguous(`the header ${name} is given twice`, name);
    seen.add(name);
  }
  return null;
}

function ambiguous(message: string, header?: string): AppError {
  return new AppError({
    code: 'http.ambiguous',
    kind: 'invalid',
    publicMessage: message,
    details: { status: 400, param: header ?? null },
  });
}
