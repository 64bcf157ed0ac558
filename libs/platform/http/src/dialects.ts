import type { AppError, AppErrorKind } from '#libs/kernel';

/** The families of error bodies; chosen by route, never by key or header. */
export type Dialect = 'openai' | 'fastapi' | 'gin' | 'venice' | 'problem';

/** One faulty member of a request. */
export interface FieldFault {
  readonly in: 'body' | 'query' | 'path' | 'header';
  /** Path of the member, outermost first; empty for the body as a whole. */
  readonly path: readonly string[];
  readonly message: string;
  /** A short machine word, for example `missing` or `value_error`. */
  readonly type: string;
}

/** An error as it goes out. */
export interface RenderedError {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const STATUS_OF_KIND: Readonly<Record<AppErrorKind, number>> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  exhausted: 429,
  unavailable: 503,
  internal: 500,
};

/** Route prefixes of each dialect, longest first; everything else under `/v1` is openai. */
const DIALECT_OF_PREFIX: readonly (readonly [prefix: string, dialect: Dialect])[] = [
  ['/api/v1/events', 'problem'],
  ['/api/v1/meters', 'problem'],
  ['/api/v1/llm', 'fastapi'],
  ['/api/v1', 'venice'],
  ['/api/dead-letters', 'problem'],
  ['/api', 'fastapi'],
  ['/auth', 'fastapi'],
  ['/v1/usage', 'problem'],
  ['/v1/costs', 'fastapi'],
  ['/v1', 'openai'],
  ['/teams', 'gin'],
  ['/users', 'gin'],
  ['/keys', 'gin'],
  ['/models', 'gin'],
  ['/generate_key', 'gin'],
  ['/delete_key', 'gin'],
  ['/tiers', 'gin'],
];

/** The dialect of a path; problem+json where no family claims it. */
export function dialectOfPath(path: string): Dialect {
  const match = DIALECT_OF_PREFIX.find(
    ([prefix]) => path === prefix || path.startsWith(`${prefix}/`) || path.startsWith(`${prefix}?`),
  );
  return match?.[1] ?? 'problem';
}

/** The faulty members an error names; empty when it names none. */
export function faultsOf(error: AppError): readonly FieldFault[] {
  const faults = error.details['faults'];
  return Array.isArray(faults) ? (faults as readonly FieldFault[]) : [];
}

/** The status an error has in a dialect; `details.status` overrules the kind's own. */
export function statusOf(dialect: Dialect, error: AppError): number {
  const status = error.details['status'];
  if (typeof status === 'number') return status;
  if (dialect === 'fastapi' && error.kind === 'invalid') return 422;
  return STATUS_OF_KIND[error.kind];
}

/** Prints an error in a dialect. @param requestId shown by problem+json as `instance` */
export function renderError(dialect: Dialect, error: AppError, requestId: string): RenderedError {
  const status = statusOf(dialect, error);
  const body = JSON.stringify(bodyOf(dialect, error, status, requestId));
  const contentType = dialect === 'problem' ? 'application/problem+json' : 'application/json';
  return { status, contentType, body };
}

function bodyOf(dialect: Dialect, error: AppError, status: number, requestId: string): object {
  const faults = faultsOf(error);
  switch (dialect) {
    case 'openai':
      return openaiBody(error, faults);
    case 'fastapi':
      return faults.length > 0
        ? { detail: faults.map(toFastapi) }
        : { detail: error.publicMessage };
    case 'gin':
      return { error: sentenceOf(error, faults) };
    case 'venice':
      return veniceBody(error, faults);
    case 'problem':
      return problemBody(error, faults, status, requestId);
  }
}

function openaiBody(error: AppError, faults: readonly FieldFault[]): object {
  const message = sentenceOf(error, faults);
  return {
    error: {
      message,
      type: error.details['type'] ?? openaiTypeOf(error.kind),
      code: error.details['wireCode'] ?? null,
      param: faults[0]?.path.join('.') ?? error.details['param'] ?? null,
    },
    detail: message,
  };
}

function openaiTypeOf(kind: AppErrorKind): string {
  if (kind === 'unauthenticated') return 'authentication_error';
  if (kind === 'forbidden') return 'permission_error';
  if (kind === 'exhausted') return 'rate_limit_exceeded';
  return kind === 'internal' || kind === 'unavailable' ? 'server_error' : 'invalid_request_error';
}

function toFastapi(fault: FieldFault): object {
  return { type: fault.type, loc: [fault.in, ...fault.path], msg: fault.message };
}

function veniceBody(error: AppError, faults: readonly FieldFault[]): object {
  if (faults.length === 0) return { error: error.publicMessage };
  const members = faults.map((fault) => [fault.path.join('.'), { _errors: [fault.message] }]);
  const details = { _errors: [], ...Object.fromEntries(members) };
  return { error: 'Invalid request parameters', details };
}

function problemBody(
  error: AppError,
  faults: readonly FieldFault[],
  status: number,
  requestId: string,
): object {
  return {
    type: `urn:tollgate:error:${error.code}`,
    title: error.kind.replace('_', ' '),
    status,
    detail: sentenceOf(error, faults),
    instance: requestId,
    code: error.code,
    ...(faults.length === 0
      ? {}
      : { errors: faults.map((f) => ({ in: f.in, name: f.path.join('.'), message: f.message })) }),
  };
}

function sentenceOf(error: AppError, faults: readonly FieldFault[]): string {
  const [first] = faults;
  if (first === undefined) return error.publicMessage;
  return first.path.length === 0 ? first.message : `${first.path.join('.')}: ${first.message}`;
}
