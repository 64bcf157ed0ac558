import { ClickHouseError } from '@clickhouse/client';

import { AppError } from '#libs/kernel';

/**
 * Engine codes after which the same call may succeed later: time-outs, network, overload, memory,
 * full disk, table set read-only, Keeper.
 * @source ClickHouse source, src/Common/ErrorCodes.cpp
 */
const RETRYABLE_CODES: ReadonlySet<string> = new Set([
  '159',
  '160',
  '202',
  '209',
  '210',
  '216',
  '241',
  '242',
  '243',
  '252',
  '319',
  '439',
  '999',
]);

/**
 * The error of a failed engine call. The engine quotes row data in its texts, so its text is in
 * `cause` alone, which is not enumerable; message and details carry code and type only.
 * @param operation name of the operation, for operators
 * @returns AppError `clickhouse.failed` (unavailable when a later call may succeed, else internal)
 */
export function engineError(operation: string, error: unknown): AppError {
  if (error instanceof AppError) return error;
  const known = engineCodeOf(error);
  const retryable = known === null || RETRYABLE_CODES.has(known.code);
  const told = known === null ? 'no answer of the engine' : `code ${known.code} ${known.type}`;
  return new AppError({
    code: 'clickhouse.failed',
    kind: retryable ? 'unavailable' : 'internal',
    publicMessage: retryable ? 'the usage store does not answer' : 'internal error',
    internalMessage: `usage store: ${operation} failed: ${told}`,
    retryable,
    cause: error,
    details: { operation, engineCode: known?.code ?? null },
  });
}

/** A second copy of the client library may be loaded by the embedded engine, hence the shape test. */
function engineCodeOf(error: unknown): { readonly code: string; readonly type: string } | null {
  if (!(error instanceof Error)) return null;
  if (error instanceof ClickHouseError) return { code: error.code, type: error.type ?? '' };
  const { code, type } = error as Partial<ClickHouseError>;
  return typeof code === 'string' && /^\d+$/.test(code) ? { code, type: type ?? '' } : null;
}
