import type { BudgetAuthority, PlaceHoldInput, PlaceHoldResult } from '#libs/budgets/core';
import { AppError, assert } from '#libs/kernel';

import type { HoldReleaser } from './hold-releaser.js';

/** Most holds asked for in one call. */
const MAX_BATCH = 256;
/** Most requests that wait to be asked for, while the authority is slow. */
const MAX_WAITING = 10_000;

/**
 * Where an attempt gets its money from. Today each hold is asked for; later a local lease may answer,
 * so callers know neither the authority nor how many asked with them.
 */
export abstract class HoldSource {
  /**
   * Takes money for one attempt, or says why there is none.
   * @throws AppError when the authority gave no answer; whatever it may have taken is given back in
   *   the background. Also, without asking, when too many requests wait or too much is to be given back
   */
  abstract take(request: PlaceHoldInput): Promise<PlaceHoldResult>;
  /** Gives money back for which provably nothing was sent; retried until it succeeds. */
  abstract giveBack(holdId: string): void;
}

interface Waiting {
  readonly request: PlaceHoldInput;
  readonly resolve: (result: PlaceHoldResult) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Asks the budget authority for each hold; requests of one tick, or of one round trip, go together.
 * While the authority is away every request leaves a hold in doubt: beyond 10,000 of them it asks no more.
 */
export class DirectHoldSource extends HoldSource {
  private waiting: Waiting[] = [];
  private isScheduled = false;
  private isAsking = false;

  constructor(
    private readonly authority: Pick<BudgetAuthority, 'placeHolds'>,
    private readonly emitterId: string,
    private readonly releaser: HoldReleaser,
  ) {
    super();
  }

  take(request: PlaceHoldInput): Promise<PlaceHoldResult> {
    return new Promise((resolve, reject) => {
      if (this.waiting.length >= MAX_WAITING)
        throw unavailable('too many requests wait for a hold');
      this.waiting.push({ request, resolve, reject });
      this.schedule();
    });
  }

  giveBack(holdId: string): void {
    this.releaser.release(holdId);
  }

  private schedule(): void {
    if (this.isScheduled || this.isAsking) return;
    this.isScheduled = true;
    setImmediate(() => {
      this.isScheduled = false;
      void this.ask();
    });
  }

  private async ask(): Promise<void> {
    if (this.releaser.isFull()) return this.refuseAll();
    const batch = this.waiting.splice(0, MAX_BATCH);
    if (batch.length === 0) return;
    this.isAsking = true;
    try {
      const requests = batch.map(({ request }) => request);
      const results = await this.authority.placeHolds(this.emitterId, requests);
      assert(results.length === batch.length, 'one answer for each hold');
      for (const [index, { request, resolve }] of batch.entries()) {
        const result = results[index]!;
        assert(result.holdId === request.holdId, 'holds are answered in order');
        resolve(result);
      }
    } catch (error) {
      // The holds may have been placed all the same; nothing will be sent for them.
      for (const { request, reject } of batch) {
        this.releaser.release(request.holdId);
        reject(error);
      }
    }
    this.isAsking = false;
    if (this.waiting.length > 0) this.schedule();
  }

  /** Nothing was asked for these, so nothing is to be given back. */
  private refuseAll(): void {
    const refusal = unavailable('too many holds wait to be given back');
    for (const { reject } of this.waiting.splice(0)) reject(refusal);
  }
}

function unavailable(internalMessage: string): AppError {
  return new AppError({
    code: 'proxy.no_hold',
    kind: 'unavailable',
    publicMessage: 'the budget cannot be checked at the moment',
    internalMessage,
    retryable: true,
  });
}
