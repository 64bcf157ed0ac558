import { messageOf } from '#libs/kernel';

/** For logs: what an error says, with its code where it has one. */
export function describeError(error: unknown): string {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
  return typeof code === 'string' ? `${code}: ${messageOf(error)}` : messageOf(error);
}
