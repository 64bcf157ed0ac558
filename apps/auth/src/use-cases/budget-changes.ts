import {
  BUDGET_ROW_DEFAULTS,
  defineBudget,
  definitionInputOf,
  deleteBudget,
  replaceBudget,
  type BudgetAuthority,
  type BudgetRow,
  type BudgetRowChange,
  type BudgetRowSettings,
  type BudgetRowTarget,
} from '#libs/budgets/core';
import type { PostgresBudgetDefinitionStore } from '#libs/budgets/adapters';
import { delay, messageOf, uuidV4, type Clock, type PicoUsd, type Random } from '#libs/kernel';
import type { EntityTransaction } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';

import { ORGANISATION_ID } from '../auth-options.js';
import { budgetControlChange, type ControlJournal } from './control-journal.js';

/** Longest wait for the authority to take in a definition before its editor is answered, milliseconds. */
const IN_FORCE_MS = 2_000;

/** Changes of budget rows inside a caller's transaction, and their way to the budget authority. */
export class BudgetChanges {
  private readonly pending = new Set<Promise<void>>();

  constructor(
    private readonly store: PostgresBudgetDefinitionStore,
    private readonly journal: ControlJournal,
    private readonly authority: Pick<BudgetAuthority, 'applyDefinition'>,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly logger: Logger,
  ) {}

  /** Creates the row of a target or replaces its settings; null = it is as asked already. */
  async put(
    tx: EntityTransaction,
    actor: string,
    target: BudgetRowTarget,
    settings: Partial<BudgetRowSettings> & Pick<BudgetRowSettings, 'limitPicoUsd'>,
  ): Promise<{ readonly row: BudgetRow; readonly created: boolean }> {
    const existing = await this.store.lockTarget(tx, target);
    if (existing !== null) {
      return { row: await this.replace(tx, actor, existing, settings), created: false };
    }
    const full = { ...BUDGET_ROW_DEFAULTS, ...settings };
    const change = defineBudget(uuidV4(this.random), target, full, this.clock.nowMs());
    await this.store.insert(tx, change.row);
    await this.settle(tx, actor, change);
    return { row: change.row, created: true };
  }

  /** Replaces settings of a locked row. */
  async replace(
    tx: EntityTransaction,
    actor: string,
    row: BudgetRow,
    settings: Partial<BudgetRowSettings>,
  ): Promise<BudgetRow> {
    const change = replaceBudget(row, settings, this.clock.nowMs());
    if (change === null) return row;
    await this.store.update(tx, change.row);
    await this.settle(tx, actor, change);
    return change.row;
  }

  /** Deletes a locked row. */
  async remove(tx: EntityTransaction, actor: string, row: BudgetRow): Promise<void> {
    const change = deleteBudget(row, this.clock.nowMs());
    await this.store.update(tx, change.row);
    await this.settle(tx, actor, change);
  }

  /** The view of a key's `max_budget`: sets, or with null deletes, its row of period total. */
  async setKeyLimit(
    tx: EntityTransaction,
    actor: string,
    keyId: string,
    limitPicoUsd: PicoUsd | null,
  ): Promise<void> {
    const target = {
      orgId: ORGANISATION_ID,
      scope: 'key',
      scopeId: keyId,
      period: 'total',
    } as const;
    if (limitPicoUsd !== null) {
      await this.put(tx, actor, target, { limitPicoUsd });
      return;
    }
    const existing = await this.store.lockTarget(tx, target);
    if (existing !== null) await this.remove(tx, actor, existing);
  }

  /**
   * Waits until the authority has taken in what was committed, at most 2 s: whoever was answered can
   * spend at once, and a budget that is not known yet holds nothing back.
   */
  async inForce(): Promise<void> {
    if (this.pending.size === 0) return;
    const waiting = new AbortController();
    await Promise.race([Promise.all(this.pending), delay(IN_FORCE_MS, waiting.signal)]);
    waiting.abort();
  }

  private async settle(
    tx: EntityTransaction,
    actor: string,
    change: BudgetRowChange,
  ): Promise<void> {
    await this.journal.record(tx, actor, [budgetControlChange(change)]);
    tx.afterCommit(() => this.hasten(change.row));
  }

  /** The event brings the definition in any case; this call only makes it act at once. */
  private hasten(row: BudgetRow): void {
    const onFailure = (error: unknown): void => {
      const { budgetId } = row;
      this.logger.warn({ budgetId, reason: messageOf(error) }, 'the budget waits for its event');
    };
    const applied = this.authority.applyDefinition(definitionInputOf(row)).catch(onFailure);
    this.pending.add(applied);
    void applied.then(() => this.pending.delete(applied));
  }
}
