import { AppError, type AppErrorKind } from '#libs/kernel';

/** Names with this ending are money: `bigint` in code, an integer string on the wire. */
const MONEY_SUFFIX = 'PicoUsd';

/**
 * JSON of a call or an answer. A `bigint` becomes an integer string, which `decodeRpc` turns back only
 * under a name ending in `PicoUsd` or directly inside an object of that name (a map of money).
 */
export function encodeRpc(value: unknown): string {
  return JSON.stringify(value ?? null, (_name, member: unknown) =>
    typeof member === 'bigint' ? member.toString() : member,
  );
}

/** The inverse of `encodeRpc`: money becomes `bigint` again, also inside maps of money. */
export function decodeRpc(text: string): unknown {
  return JSON.parse(text, (name, member: unknown) => {
    if (!name.endsWith(MONEY_SUFFIX)) return member;
    if (typeof member === 'string') return BigInt(member);
    if (typeof member !== 'object' || member === null) return member;
    return Object.fromEntries(
      Object.entries(member).map(([key, text]) => [key, BigInt(text as string)]),
    );
  });
}

/** The form in which a failure crosses between services; the internal message stays behind. */
export interface RpcFailure {
  readonly code: string;
  readonly kind: AppErrorKind;
  readonly message: string;
  readonly retryable: boolean;
}

/** What the caller is told of a failure. */
export function toRpcFailure(error: unknown): RpcFailure {
  if (error instanceof AppError) {
    const { code, kind, publicMessage, retryable } = error;
    return { code, kind, message: publicMessage, retryable };
  }
  return { code: 'internal.error', kind: 'internal', message: 'internal error', retryable: false };
}

/** The failure as the caller throws it. */
export function fromRpcFailure(failure: RpcFailure): AppError {
  return new AppError({
    code: failure.code,
    kind: failure.kind,
    publicMessage: failure.message,
    retryable: failure.retryable,
  });
}
