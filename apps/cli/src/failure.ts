/** Exit codes of every command. */
export const EXIT = { done: 0, refused: 1, usage: 2, unreachable: 3 } as const;

/** Why a command ended without its result; the text says what to do next. */
export class Failure extends Error {
  constructor(
    readonly exitCode: (typeof EXIT)[keyof typeof EXIT],
    message: string,
  ) {
    super(message);
    this.name = 'Failure';
  }
}

/** A command line that cannot be understood; nothing was sent. */
export function usageFailure(message: string): Failure {
  return new Failure(EXIT.usage, message);
}
