import type { BudgetAuthority } from '#libs/budgets/core';
import { EVENT_KIND, eventIdOf, REQUEST_COMPLETED_V1, type RequestCompletedV1 } from '#libs/events';
import type { RequestId } from '#libs/kernel';
import type { PriceIndex } from '#libs/pricing/core';
import type { OpenAttempt, Spool, SpoolEvent } from '#libs/spool/core';

import type { LossReporter } from '../relay/loss-reporter.js';
import { atHold, byEstimate, type Figures, type Terms } from '../attempt/settlement.js';

/** Output between two marks of progress, tokens: what may have been delivered after the last one. */
const TOKENS_AFTER_MARK = 256;

/** What recovery did. */
export interface RecoveryReport {
  readonly closedAttempts: number;
  readonly releasedHolds: number;
  /** Ranges of the stream that a damaged file could not give back. */
  readonly lostRanges: number;
}

/** What recovery works on. */
export interface RecoverSpoolParts {
  readonly spool: Pick<
    Spool,
    'openAttempts' | 'append' | 'knownEvents' | 'keptSince' | 'emitterId' | 'lostRanges'
  >;
  readonly losses: Pick<LossReporter, 'report'>;
  readonly authority: Pick<BudgetAuthority, 'listHolds' | 'releaseHolds'>;
}

/**
 * After a start: says what a damaged file has lost, ends every attempt that a former process left open with a labelled record, then gives
 * back every hold of this emitter that neither journal nor spool knows, because nothing was sent for
 * it. Nothing may be admitted meanwhile. Idempotent; safe to repeat after a failure.
 */
export class RecoverSpool {
  constructor(private readonly parts: RecoverSpoolParts) {}

  /** @param prices rates the text that was delivered before the crash */
  async execute(prices: PriceIndex): Promise<RecoveryReport> {
    const { spool, losses } = this.parts;
    await losses.report(spool.lostRanges);
    const open = await spool.openAttempts();
    for (const attempt of open) await spool.append(terminalEvent(attempt, prices));
    return {
      closedAttempts: open.length,
      releasedHolds: await this.releaseOrphans(),
      lostRanges: spool.lostRanges.length,
    };
  }

  /**
   * A hold from before the oldest record that is kept may have been sent, its record published and
   * deleted: it is left for its settlement.
   */
  private async releaseOrphans(): Promise<number> {
    const { spool, authority } = this.parts;
    let released = 0;
    for (let after: string | null = null; ;) {
      const holds = await authority.listHolds(spool.emitterId, after);
      if (holds.length === 0) return released;
      const events = holds.map(({ holdId }) => eventOfHold(holdId));
      const known = await spool.knownEvents(events);
      // Asked second: what is deleted between the two is known, or older than this.
      const keptSinceMs = await spool.keptSince();
      const orphans = holds.filter(
        ({ holdId }, index) => !known.has(events[index]!) && takenAtMs(holdId) > keptSinceMs,
      );
      if (orphans.length > 0) {
        await authority.releaseHolds(
          spool.emitterId,
          orphans.map(({ holdId }) => holdId),
        );
      }
      released += orphans.length;
      after = holds.at(-1)!.holdId;
    }
  }
}

/**
 * The record of an attempt whose process died: its hold, or, when output was seen, the tokens of the
 * last mark and one mark more, never above the hold.
 */
export function terminalEvent(open: OpenAttempt, prices: PriceIndex): SpoolEvent {
  const intent = JSON.parse(Buffer.from(open.body).toString()) as RequestCompletedV1;
  const figures = figuresOf(open, intent, prices);
  const event: RequestCompletedV1 = {
    ...intent,
    provenance: figures.provenance,
    usage_source: figures.usageSource,
    usage: figures.usage as Record<string, number>,
    price_id: figures.priceId,
    price_state: figures.priceState,
    cost_pusd: String(figures.costPicoUsd),
    charge_pusd: String(figures.costPicoUsd),
    flags: [...figures.flags],
    source: 'recovery',
  };
  return {
    lane: open.lane,
    eventId: intent.event_id,
    body: Buffer.from(JSON.stringify(event)),
    headers: {
      ce_type: REQUEST_COMPLETED_V1,
      ce_time: intent.occurred_at,
      ce_subject: intent.key_id,
    },
    closes: { requestId: open.requestId, attempt: open.attempt },
  };
}

function figuresOf(open: OpenAttempt, intent: RequestCompletedV1, prices: PriceIndex): Figures {
  const heldTokens = {
    input: intent.usage['input_text'] ?? 0,
    output: intent.usage['output_text'] ?? 0,
  };
  const terms: Terms = {
    prices,
    provider: intent.provider,
    model: intent.model,
    admittedAtMs: Date.parse(intent.admitted_at),
    serviceTierAsked: intent.service_tier_requested,
    holdPicoUsd: open.holdPicoUsd,
    isCeiling: intent.price_state === 'ceiling',
    heldTokens,
    sentOutputLimit: null,
    estimatedInputTokens: heldTokens.input,
  };
  if (open.progress === null || terms.isCeiling) return atHold(terms, null, []);
  const tokens = Math.min(open.progress.tokensOut + TOKENS_AFTER_MARK, heldTokens.output);
  return byEstimate(terms, tokens, []);
}

/** When the request of a hold was admitted. @source RFC 9562 section 5.7: the first 48 bits */
function takenAtMs(holdId: string): number {
  return Number.parseInt(holdId.slice(0, 8) + holdId.slice(9, 13), 16);
}

/** The event that ends the attempt a hold was taken for. @param holdId `<request id>.<attempt>` */
function eventOfHold(holdId: string): string {
  const dot = holdId.lastIndexOf('.');
  const requestId = holdId.slice(0, dot) as RequestId;
  return eventIdOf(requestId, Number(holdId.slice(dot + 1)), EVENT_KIND.completed);
}
