import type { BudgetStateV1, KeyBlock, KeyRevocationV1 } from '#libs/events';

import type { Principal } from './principal.js';

/** What the log last said of one budget. */
interface HeardBudget {
  readonly scope: string;
  readonly subjectId: string;
  readonly epoch: number;
  readonly rev: number;
  readonly block: KeyBlock | null;
}

/** Most budgets remembered; the oldest news goes first, and the key directory knows it by then. */
const MAX_BUDGETS = 100_000;

/**
 * Which budgets are exhausted, as heard from the log: it may be ahead of the key directory, so what
 * was heard overrules a record just fetched. Holds stay the guard; this only answers sooner.
 */
export class BudgetBlocks {
  private readonly heard = new Map<string, HeardBudget>();
  /** Exhausted budgets by subject, then by budget. */
  private readonly exhausted = new Map<string, Map<string, KeyBlock>>();

  /** `key.revoked.v1` and `key.reinstated.v1`. @returns whether it was news */
  hearKey(event: KeyRevocationV1, isRevoked: boolean): boolean {
    const { key_id, budget_id, period, resets_at } = event;
    return this.hear(budget_id, {
      scope: 'key',
      subjectId: key_id,
      epoch: event.epoch,
      rev: event.budget_rev,
      block: isRevoked ? { reason: 'budget', scope: 'key', budget_id, period, resets_at } : null,
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
    });
  }

  /** A budget was deleted or disabled: it blocks nobody, and older news of it stays old. */
  lift(budgetId: string): void {
    const known = this.heard.get(budgetId);
    if (known === undefined) return;
    this.drop(budgetId, known);
    this.heard.set(budgetId, { ...known, block: null });
  }

  /** The block a key is under: what its record says, corrected by what was heard since. */
  blockOf(principal: Principal): KeyBlock | null {
    const { block } = principal.record;
    if (this.heard.size === 0) return block;
    for (const { scope, subjectId } of principal.subjects) {
      const blocks = this.exhausted.get(subjectKey(scope, subjectId));
      if (blocks !== undefined) return blocks.values().next().value!;
    }
    if (block === null || block.reason !== 'budget') return block;
    return this.heard.get(block.budget_id)?.block === null ? null : block;
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
      const blocks = this.exhausted.get(key) ?? new Map<string, KeyBlock>();
      this.exhausted.set(key, blocks.set(budgetId, news.block));
    }
    return true;
  }

  private drop(budgetId: string, known: HeardBudget): void {
    this.heard.delete(budgetId);
    const key = subjectKey(known.scope, known.subjectId);
    const blocks = this.exhausted.get(key);
    blocks?.delete(budgetId);
    if (blocks?.size === 0) this.exhausted.delete(key);
  }
}

function subjectKey(scope: string, subjectId: string): string {
  return `${scope}\n${subjectId}`;
}
