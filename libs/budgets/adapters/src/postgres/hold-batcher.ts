import type { PlaceHoldInput, PlaceHoldResult } from '#libs/budgets/core';
import { AppError } from '#libs/kernel';

/** Requests for money of one caller. */
export interface HoldCall {
  readonly emitterId: string;
  readonly holds: readonly PlaceHoldInput[];
}

interface WaitingCall extends HoldCall {
  readonly resolve: (results: readonly PlaceHoldResult[]) => void;
  readonly reject: (error: unknown) => void;
}

/** Holds decided in one transaction; beyond that its row locks would keep others waiting. */
const MAX_HOLDS_PER_TRANSACTION = 1_000;
/** Holds that may wait; at a few thousand decisions a second this is a few seconds of waiting. */
const MAX_WAITING_HOLDS = 20_000;

/**
 * Merges calls that arrive while a transaction runs into the next one, in order of arrival, so that
 * a hot budget costs one row lock and one commit per batch and not per request. Both the batch and
 * the queue are bounded.
 */
export class HoldBatcher {
  private readonly waiting: WaitingCall[] = [];
  private waitingHolds = 0;
  private isRunning = false;

  /** @param decide answers the calls of one transaction, one list of results per call */
  constructor(
    private readonly decide: (
      calls: readonly HoldCall[],
    ) => Promise<readonly (readonly PlaceHoldResult[])[]>,
  ) {}

  /** @throws AppError `budget.unavailable` when too many holds wait already, or what `decide` threw */
  place(call: HoldCall): Promise<readonly PlaceHoldResult[]> {
    if (this.waitingHolds + call.holds.length > MAX_WAITING_HOLDS) {
      return Promise.reject(unavailable('too many holds are waiting'));
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ ...call, resolve, reject });
      this.waitingHolds += call.holds.length;
      void this.run();
    });
  }

  private async run(): Promise<void> {
    if (this.isRunning) return;
    this.isRunning = true;
    while (this.waiting.length > 0) await this.runBatch(this.nextBatch());
    this.isRunning = false;
  }

  private nextBatch(): readonly WaitingCall[] {
    let holds = 0;
    let calls = 0;
    for (const call of this.waiting) {
      if (calls > 0 && holds + call.holds.length > MAX_HOLDS_PER_TRANSACTION) break;
      holds += call.holds.length;
      calls += 1;
    }
    this.waitingHolds -= holds;
    return this.waiting.splice(0, calls);
  }

  private async runBatch(calls: readonly WaitingCall[]): Promise<void> {
    try {
      const answers = await this.decide(calls);
      calls.forEach((call, at) => call.resolve(answers[at]!));
    } catch (error) {
      for (const call of calls) call.reject(error);
    }
  }
}

/** The failure of a call that may be made again: the authority could not decide now. */
export function unavailable(reason: string, cause?: unknown): AppError {
  return new AppError({
    code: 'budget.unavailable',
    kind: 'unavailable',
    publicMessage: 'the budget cannot be checked at the moment',
    internalMessage: `the budget cannot be checked: ${reason}`,
    retryable: true,
    cause,
  });
}
