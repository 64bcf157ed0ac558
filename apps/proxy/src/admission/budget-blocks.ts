import type { BudgetStateV1, KeyBlock, KeyRevocationV1 } from '#libs/events';
import type { Clock } from '#libs/kernel';

import type { Principal } from './principal.js';

/** What the log last said of one budget. */
interface HeardBudget {
  readonly scope: string;
  readonly subjectId: string;
  readonly epoch: number;
  readonly rev: number;
  readonly block: KeyBlock | null;
  /** Monotonic milliseconds. */
  readonly heardAtMs: number;
}

/**
 * How long after news of a budget the key directory may not know it yet, milliseconds: it hears the
 * same log, and compares what it knows with the budget authority several times a minute.
 */
const DIRECTORY_LAG_MS = 60_000;
/** Most budgets remembered; the oldest news goes first, and the key directory knows it by then. */
const MAX_BUDGETS = 100_000;

/**
 * Which budgets are exhausted, as heard from the log: it may be ahead of the key directory, so what
 * was heard overrules a record just fetched. A record fetched 60 s after the news overrules the news:
 * what came after it may have been lost with the end of the log. Holds stay the guard; this only
 * answers sooner.
 */
export class BudgetBlocks {
  private readonly heard = new Map<string, HeardBudget>();
  /** News of exhausted budgets by subject; each is the one in `heard`. */
  private readonly exhausted = new Map<string, Set<HeardBudget>>();

  constructor(private readonly clock: Pick<Clock, 'monotonicMs'>) {}

  /** `key.revoked.v1` and `key.reinstated.v1`. @returns whether it was news */
  hearKey(event: KeyRevocationV1, isRevoked: boolean): boolean {
    const { key_id, budget_id, period, resets_at } = event;
    return this.hear(budget_id, {
      scope: 'key',
      subjectId: key_id,
      epoch: event.epoch,
      rev: event.budget_rev,
      block: isRevoked ? { reason: 'budget', scope: 'key', budget_id, period, resets_at } : null,
      heardAtMs: this.clock.monotonicMs(),
    });
  }

  /** `budget.exceeded.v1` and `budget.reinstated.v1`. @returns whether it was news */
  hearBudget(event: BudgetStateV1): boolean {
    const { scope, subject_id, budget_id, period, resets_at } = event;
    return this.hear(budget_id, {
      scope,
      subjectId: subject_id,
      epoch: event.epoch,
      rev: event.budget_rev,
      block: event.exhausted ? { reason: 'budget', scope, budget_id, period, resets_at } : null,
      heardAtMs: this.clock.monotonicMs(),
    });
  }

  /** A budget was deleted or disabled: it blocks nobody, and older news of it stays old. */
  lift(budgetId: string): void {
    const known = this.heard.get(budgetId);
    if (known === undefined) return;
    this.drop(budgetId, known);
    this.heard.set(budgetId, { ...known, block: null, heardAtMs: this.clock.monotonicMs() });
  }

  /**
   * The block a key is under: what its record says, corrected by what was heard since.
   * @param fetchedAtMs when the record was asked for, monotonic
   */
  blockOf(principal: Principal, fetchedAtMs: number): KeyBlock | null {
    const { block } = principal.record;
    if (this.heard.size === 0) return block;
    for (const { scope, subjectId } of principal.subjects) {
      for (const news of this.exhausted.get(subjectKey(scope, subjectId)) ?? []) {
        if (isAhead(news, fetchedAtMs)) return news.block;
      }
    }
    if (block === null || block.reason !== 'budget') return block;
    const news = this.heard.get(block.budget_id);
    return news?.block === null && isAhead(news, fetchedAtMs) ? null : block;
  }

  private hear(budgetId: string, news: HeardBudget): boolean {
    const known = this.heard.get(budgetId);
    if (known !== undefined) {
      const isOlder =
        news.epoch < known.epoch || (news.epoch === known.epoch && news.rev <= known.rev);
      if (isOlder) return false;
      this.drop(budgetId, known);
    } else if (this.heard.size >= MAX_BUDGETS) {
      const [oldestId, oldest] = this.heard.entries().next().value!;
      this.drop(oldestId, oldest);
    }
    this.heard.set(budgetId, news);
    if (news.block !== null) {
      const key = subjectKey(news.scope, news.subjectId);
      const blocks = this.exhausted.get(key) ?? new Set<HeardBudget>();
      this.exhausted.set(key, blocks.add(news));
    }
    return true;
  }

  private drop(budgetId: string, known: HeardBudget): void {
    this.heard.delete(budgetId);
    const key = subjectKey(known.scope, known.subjectId);
    const blocks = this.exhausted.get(key);
    blocks?.delete(known);
    if (blocks?.size === 0) this.exhausted.delete(key);
  }
}

function isAhead(news: HeardBudget, fetchedAtMs: number): boolean {
  return fetchedAtMs < news.heardAtMs + DIRECTORY_LAG_MS;
}

function subjectKey(scope: string, subjectId: string): string {
  return `${scope}\n${subjectId}`;
}
