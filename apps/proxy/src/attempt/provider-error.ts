import { REFUSALS, upstreamError, type Refusal } from '../http/refusal.js';

/** Largest error body that is read for its message, bytes. */
const MAX_ERROR_BYTES = 65_536;
/** Longest message shown, characters. */
const MAX_MESSAGE_CHARS = 500;
/** Texts that could carry a credential are not passed on. */
const SUSPICIOUS = /\b(?:sk|pk|key|bearer|token|secret|authorization)[-_ :=]/i;

/** Statuses that say something about us or the provider, not about the client's request. */
const OURS: ReadonlySet<number> = new Set([401, 403, 408, 429]);

/** Whether the provider refused the request itself, so that its status is the answer. */
export function isRefusalOfRequest(status: number): boolean {
  return status >= 400 && status < 500 && !OURS.has(status);
}

/** What the client is told when the provider answered with an error. */
export function answerToProviderError(
  status: number,
  body: Buffer,
  retryAfter: string | null,
): Refusal {
  if (!isRefusalOfRequest(status)) return upstreamError(`status ${status}`, retryAfter);
  const { message, param, code } = readError(body);
  return {
    status,
    type: 'invalid_request_error',
    code,
    message: message ?? 'The provider refused the request',
    param,
    reason: null,
    headers: [],
  };
}

/** What the client is told when no complete answer came. */
export function answerToFailure(reason: 'connect' | 'timeout' | 'cut' | 'aborted'): Refusal {
  if (reason === 'timeout' || reason === 'aborted') return REFUSALS.upstreamTimeout;
  const what = reason === 'connect' ? 'cannot be reached' : 'the connection was cut';
  return upstreamError(what, null);
}

/** The `Retry-After` of a provider, whole seconds, when it is one we pass on (at most 60). */
export function passedRetryAfter(value: string | string[] | undefined): string | null {
  if (typeof value !== 'string' || !/^\d{1,2}$/.test(value)) return null;
  return Number(value) <= 60 ? value : null;
}

function readError(body: Buffer): {
  readonly message: string | null;
  readonly param: string | null;
  readonly code: string | null;
} {
  const none = { message: null, param: null, code: null };
  if (body.length > MAX_ERROR_BYTES) return none;
  try {
    const { error } = JSON.parse(body.toString()) as { error?: Record<string, unknown> };
    return {
      message: harmless(error?.['message']),
      param: harmless(error?.['param']),
      code: harmless(error?.['code']),
    };
  } catch {
    // Not JSON: an HTML page of some gateway, nothing a client of this API could read.
    return none;
  }
}

function harmless(value: unknown): string | null {
  if (typeof value !== 'string' || value.length > MAX_MESSAGE_CHARS) return null;
  return SUSPICIOUS.test(value) ? null : value;
}
