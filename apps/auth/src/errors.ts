import { AppError } from '#libs/kernel';

/** No caller that the key routes accept. */
export function authenticationRequired(): AppError {
  return new AppError({
    code: 'auth.user_required',
    kind: 'unauthenticated',
    publicMessage: 'Authentication required (X-User-ID header)',
  });
}

/** No caller that the budget routes accept. */
export function notAuthenticated(): AppError {
  return new AppError({
    code: 'auth.not_authenticated',
    kind: 'unauthenticated',
    publicMessage: 'Not authenticated',
  });
}

/** The caller is known and may not do this. */
export function accessDenied(): AppError {
  return new AppError({
    code: 'auth.access_denied',
    kind: 'forbidden',
    publicMessage: 'Access denied',
  });
}

/** No such key. */
export function keyNotFound(): AppError {
  return new AppError({
    code: 'keys.not_found',
    kind: 'not_found',
    publicMessage: 'Key not found',
  });
}

/** The key is deleted for good. */
export function keyDeleted(): AppError {
  return new AppError({
    code: 'keys.deleted',
    kind: 'conflict',
    publicMessage: 'Key is deleted',
  });
}

/** No such team. */
export function teamNotFound(): AppError {
  return new AppError({
    code: 'teams.not_found',
    kind: 'not_found',
    publicMessage: 'Team not found',
  });
}

/** The id of a new team is taken. */
export function teamExists(teamId: string): AppError {
  return new AppError({
    code: 'teams.exists',
    kind: 'conflict',
    publicMessage: `team ${teamId} already exists`,
  });
}

/** No such budget row. */
export function budgetNotFound(): AppError {
  return new AppError({
    code: 'budgets.not_found',
    kind: 'not_found',
    publicMessage: 'Budget not found',
  });
}

/** `If-Match` names an older state of the row; 412. */
export function budgetChanged(): AppError {
  return new AppError({
    code: 'budgets.changed',
    kind: 'conflict',
    publicMessage: 'Budget was changed',
    details: { status: 412 },
  });
}

/** The same `Idempotency-Key` came with another body; 422. */
export function idempotencyMismatch(): AppError {
  return new AppError({
    code: 'input.idempotency_mismatch',
    kind: 'invalid',
    publicMessage: 'Idempotency-Key was used with another body',
  });
}

/** The same `Idempotency-Key` is being answered right now. */
export function idempotencyInProgress(): AppError {
  return new AppError({
    code: 'input.idempotency_in_progress',
    kind: 'conflict',
    publicMessage: 'A request with this Idempotency-Key is in progress',
    retryable: true,
  });
}

/** Limits were given without a policy that could carry them. */
export function limitsNeedPolicy(): AppError {
  return new AppError({
    code: 'teams.limits_need_policy',
    kind: 'invalid',
    publicMessage: 'token_limit and time_window need a named policy',
  });
}

/** The version of prices that was asked for does not exist yet. */
export function noPrices(): AppError {
  return new AppError({
    code: 'prices.none',
    kind: 'unavailable',
    publicMessage: 'no price book is in force yet',
    retryable: true,
  });
}
