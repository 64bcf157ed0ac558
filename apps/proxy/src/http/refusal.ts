import type { ServerResponse } from 'node:http';

import type { RejectionReason } from '#libs/events';

/** An answer that serves nothing: what the caller sees, and the reason the event carries. */
export interface Refusal {
  readonly status: number;
  readonly type: string;
  readonly code: string | null;
  readonly message: string;
  readonly param: string | null;
  /** Null = no event: the key is unknown, or an attempt was made and has its own record. */
  readonly reason: RejectionReason | null;
  /** Further headers, names and values in turn. */
  readonly headers: readonly string[];
}

const NO_RETRY = ['x-should-retry', 'false'] as const;
const CHALLENGE = ['www-authenticate', 'Bearer'] as const;

function refusal(
  status: number,
  type: string,
  code: string | null,
  message: string,
  reason: RejectionReason | null,
  headers: readonly string[] = [],
): Refusal {
  return { status, type, code, message, param: null, reason, headers };
}

function keyRefusal(code: string, message: string, reason: RejectionReason | null): Refusal {
  return refusal(401, 'authentication_error', code, message, reason, CHALLENGE);
}

/** Refusals without variable parts, by what went wrong. */
export const REFUSALS = {
  unknownKey: keyRefusal('invalid_api_key', 'Invalid or missing API key', null),
  deletedKey: keyRefusal('invalid_api_key', 'Invalid or missing API key', 'auth'),
  disabledKey: keyRefusal('key_inactive', 'Key is inactive', 'disabled'),
  expiredKey: keyRefusal('key_expired', 'Key has expired', 'expired'),
  modelNotAllowed: refusal(
    403,
    'permission_error',
    'model_not_allowed',
    'The key may not use this model',
    'model',
  ),
  modelUnknown: {
    ...refusal(
      404,
      'invalid_request_error',
      'model_not_found',
      'The model does not exist',
      'model_unknown',
    ),
    param: 'model',
  },
  priceUnknown: {
    ...refusal(
      400,
      'invalid_request_error',
      'price_unknown',
      'The model has no price',
      'price_unknown',
      NO_RETRY,
    ),
    param: 'model',
  },
  unestimable: refusal(
    400,
    'invalid_request_error',
    'unestimable',
    'The cost of this request has no bound',
    'unestimable',
    NO_RETRY,
  ),
  tooLarge: refusal(
    413,
    'invalid_request_error',
    'request_too_large',
    'The request body is larger than 10 MiB',
    'too_large',
    ['connection', 'close'],
  ),
  recordTooLarge: refusal(
    413,
    'invalid_request_error',
    'record_too_large',
    'The ids of the key, its user and its team are too long for a usage record',
    'too_large',
    NO_RETRY,
  ),
  notConfigured: refusal(
    503,
    'upstream_error',
    'provider_not_configured',
    'No provider is configured for this model',
    'unavailable',
  ),
  meteringUnavailable: refusal(
    503,
    'server_error',
    'metering_unavailable',
    'Usage cannot be recorded at the moment',
    'unavailable',
    NO_RETRY,
  ),
  budgetUnavailable: refusal(
    503,
    'server_error',
    'budget_unavailable',
    'Budgets cannot be checked at the moment',
    'unavailable',
    NO_RETRY,
  ),
  keysUnavailable: refusal(
    503,
    'server_error',
    'service_unavailable',
    'Keys cannot be checked at the moment',
    null,
    ['retry-after', '1'],
  ),
  starting: refusal(503, 'server_error', 'service_unavailable', 'Starting', null, [
    'retry-after',
    '1',
  ]),
  internal: refusal(500, 'server_error', 'internal_error', 'Internal error', null),
  upstreamTimeout: refusal(
    503,
    'upstream_error',
    'upstream_timeout',
    'LLM provider error: no answer in time',
    null,
  ),
} as const satisfies Record<string, Refusal>;

/** The refusal of a request that is faulty. @param param the faulty member; null = the whole body */
export function invalidRequest(message: string, param: string | null): Refusal {
  return { ...refusal(400, 'invalid_request_error', null, message, 'invalid'), param };
}

/** The refusal of an attempt that failed upstream. @param retryAfter whole seconds, at most 60 */
export function upstreamError(what: string, retryAfter: string | null): Refusal {
  const headers = retryAfter === null ? [] : ['retry-after', retryAfter];
  const message = `LLM provider error: ${what}`;
  return refusal(503, 'upstream_error', 'upstream_error', message, null, headers);
}

/** Which budget stood in the way. */
export interface BudgetNamed {
  readonly scope: string;
  readonly period: string;
  /** RFC 3339, UTC; null for a budget without a period end. */
  readonly resetsAt: string | null;
}

/** The refusal of a spent budget, or of a request that its remainder cannot pay for. */
export function budgetExceeded(budget: BudgetNamed, reason: 'revoked' | 'budget'): Refusal {
  const reset = budget.resetsAt === null ? '' : `; it resets at ${budget.resetsAt}`;
  const message = `Budget exceeded: the ${budget.period} budget of the ${budget.scope}${reset}`;
  const headers = [...budgetHeaders(budget), ...NO_RETRY];
  return refusal(401, 'insufficient_quota', 'budget_exceeded', message, reason, headers);
}

/** The refusal while other requests hold what is left. @param retryAfterMs at least 1 s is told */
export function budgetReserved(budget: BudgetNamed, retryAfterMs: number): Refusal {
  const seconds = Math.min(60, Math.max(1, Math.ceil(retryAfterMs / 1_000)));
  const message = `Budget reserved: requests in flight hold what is left of the ${budget.period} budget of the ${budget.scope}`;
  const headers = [
    ...budgetHeaders(budget),
    'retry-after',
    String(seconds),
    'retry-after-ms',
    String(Math.min(60_000, Math.max(1, Math.ceil(retryAfterMs)))),
  ];
  return refusal(
    429,
    'rate_limit_exceeded',
    'budget_reserved',
    message,
    'budget_reserved',
    headers,
  );
}

function budgetHeaders(budget: BudgetNamed): string[] {
  const headers = ['x-budget-scope', budget.scope, 'x-budget-period', budget.period];
  if (budget.resetsAt !== null) headers.push('x-budget-reset-at', budget.resetsAt);
  return headers;
}

/** The OpenAI error envelope, compact. @source OpenAI API reference, error object */
export function envelopeOf(refused: Refusal): string {
  const { message, type, code, param } = refused;
  return JSON.stringify({ error: { message, type, code, param }, detail: message });
}

/**
 * The end of a stream that has begun and cannot be completed.
 * @source OpenAI's clients throw on a `data:` JSON with an `error` member
 */
export function errorEventOf(refused: Refusal): string {
  return `data: ${envelopeOf(refused)}\n\n`;
}

/** Sends a refusal. Does nothing when the head of an answer is already out. */
export function sendRefusal(res: ServerResponse, wireId: string, refused: Refusal): void {
  if (res.headersSent || res.destroyed) return;
  const body = Buffer.from(envelopeOf(refused));
  res.writeHead(refused.status, [
    'content-type',
    'application/json',
    'content-length',
    String(body.length),
    'x-request-id',
    wireId,
    ...refused.headers,
  ]);
  res.end(body);
}
