import { HttpException } from '@nestjs/common';

import { AppError, type AppErrorKind } from '#libs/kernel';

import type { FieldFault } from './dialects.js';

/** The error of a request whose members are faulty; names every one of them. */
export function invalidInput(faults: readonly FieldFault[]): AppError {
  return new AppError({
    code: 'input.invalid',
    kind: 'invalid',
    publicMessage: faults[0]?.message ?? 'the request is invalid',
    details: { faults },
  });
}

const KIND_OF_STATUS: Readonly<Record<number, AppErrorKind>> = {
  400: 'invalid',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'not_found',
  409: 'conflict',
  429: 'exhausted',
  503: 'unavailable',
};

/** Whatever was thrown, as an `AppError`; foreign errors keep their status, never their text. */
export function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof HttpException) return ofStatus(error.getStatus(), error.message, error);
  const status = statusOfForeign(error);
  if (status === 413) return tooLarge();
  if (status >= 400 && status < 500) {
    return ofStatus(status, error instanceof Error ? error.message : 'invalid request', error);
  }
  return new AppError({
    code: 'internal.error',
    kind: 'internal',
    publicMessage: 'Internal Server Error',
    internalMessage: error instanceof Error ? (error.stack ?? error.message) : String(error),
    cause: error,
  });
}

/** The error of a body above the limit of its route. */
export function tooLarge(): AppError {
  return new AppError({
    code: 'input.too_large',
    kind: 'invalid',
    publicMessage: 'Request too large',
    details: { status: 413, wireCode: 'request_too_large' },
  });
}

/** The error of a path that no route has, or of another method than its routes take. */
export function noRoute(method: string, known: boolean): AppError {
  return known
    ? ofStatus(405, `Method ${method} is not allowed here`, undefined)
    : new AppError({
        code: 'http.not_found',
        kind: 'not_found',
        publicMessage: 'Not Found',
        details: { wireCode: 'not_found' },
      });
}

function ofStatus(status: number, message: string, cause: unknown): AppError {
  return new AppError({
    code: `http.status_${status}`,
    kind: KIND_OF_STATUS[status] ?? (status < 500 ? 'invalid' : 'internal'),
    publicMessage: status < 500 ? message : 'Internal Server Error',
    details: { status },
    cause,
  });
}

function statusOfForeign(error: unknown): number {
  const status: unknown = error instanceof Error ? Reflect.get(error, 'statusCode') : undefined;
  return typeof status === 'number' ? status : 500;
}
