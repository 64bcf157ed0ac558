import {
  isExhausted,
  statusOfBudget,
  type BudgetAuthority,
  type BudgetFigures,
  type BudgetRow,
  type BudgetRowSettings,
  type BudgetRowStatus,
  type BudgetRowTarget,
} from '#libs/budgets/core';
import type { PostgresBudgetDefinitionStore } from '#libs/budgets/adapters';
import { ZERO_PICO_USD, type KeyId, type PicoUsd } from '#libs/kernel';
import type { PostgresKeyStore } from '#libs/keys/adapters';
import {
  isUniqueViolation,
  type EntityTransaction,
  type ServiceDataSource,
} from '#libs/platform/postgres';
import type { PostgresTeamStore } from '#libs/teams/adapters';

import { ORGANISATION_ID } from '../auth-options.js';
import {
  accessDenied,
  budgetChanged,
  budgetNotFound,
  keyNotFound,
  teamNotFound,
} from '../errors.js';
import type { BudgetChanges } from './budget-changes.js';
import { subjectName } from './live-figures.js';

/** Who edits: the operator, or a user, who reaches the rows of own keys only. */
export interface BudgetEditor {
  readonly actor: string;
  /** Null = every row. */
  readonly userId: string | null;
}

/** A row with its live figures. */
export interface BudgetView {
  readonly row: BudgetRow;
  readonly settledPicoUsd: PicoUsd;
  readonly heldPicoUsd: PicoUsd;
  readonly status: BudgetRowStatus;
  /** RFC 3339, UTC; null for period total. */
  readonly periodStart: string | null;
  readonly periodEnd: string | null;
}

/** The tag of a row's state, as `ETag` and `If-Match` carry it. */
export function budgetTag(row: BudgetRow): string {
  return `"${row.budgetId}.${row.rev}"`;
}

/** Reads and edits budget rows within the rights of their editor. */
export class EditBudgets {
  constructor(
    private readonly source: ServiceDataSource,
    private readonly store: PostgresBudgetDefinitionStore,
    private readonly changes: BudgetChanges,
    private readonly keys: PostgresKeyStore,
    private readonly teams: PostgresTeamStore,
    private readonly authority: Pick<BudgetAuthority, 'figures' | 'spendOf'>,
  ) {}

  /** One live row. @throws AppError `budgets.not_found`, `auth.access_denied` */
  async find(editor: BudgetEditor, budgetId: string): Promise<BudgetRow> {
    const row = await this.store.find(ORGANISATION_ID, budgetId);
    if (row === null || row.deletedAtMs !== null) throw budgetNotFound();
    await this.assertReach(editor, row);
    return row;
  }

  /** Live rows the editor may see, ascending by id. */
  list(
    editor: BudgetEditor,
    filter: {
      readonly scope: BudgetRow['scope'] | null;
      readonly scopeId: string | null;
      readonly period: BudgetRow['period'] | null;
      readonly enabled: boolean | null;
      readonly afterId: string | null;
    },
    limit: number,
  ): Promise<BudgetRow[]> {
    const scope = { orgId: ORGANISATION_ID, ownerUserId: editor.userId };
    return this.store.list({ ...scope, ...filter }, limit);
  }

  /**
   * Creates the row of a target, or replaces it whole.
   * @throws AppError `keys.not_found`, `teams.not_found`, `auth.access_denied`
   */
  async put(
    editor: BudgetEditor,
    target: BudgetRowTarget,
    settings: BudgetRowSettings,
  ): Promise<{ readonly row: BudgetRow; readonly created: boolean }> {
    await this.assertSubject(editor, target);
    const write = () =>
      this.source.transaction((tx) => this.changes.put(tx, editor.actor, target, settings));
    const put = await write().catch((error: unknown) => {
      // Another caller created the same row in between; now it is there to be replaced.
      if (isUniqueViolation(error)) return write();
      throw error;
    });
    await this.changes.inForce();
    return put;
  }

  /**
   * Replaces a row whole.
   * @param expectedTag of `If-Match`; null = any state
   * @throws AppError `budgets.not_found`, `budgets.changed`, `auth.access_denied`
   */
  async replace(
    editor: BudgetEditor,
    budgetId: string,
    settings: BudgetRowSettings,
    expectedTag: string | null,
  ): Promise<BudgetRow> {
    await this.find(editor, budgetId);
    const replaced = await this.source.transaction(async (tx) => {
      const row = await this.lockLive(tx, budgetId);
      if (expectedTag !== null && !matches(expectedTag, row)) throw budgetChanged();
      return this.changes.replace(tx, editor.actor, row, settings);
    });
    await this.changes.inForce();
    return replaced;
  }

  /** Deletes a row; repeating does nothing. @throws AppError `budgets.not_found` */
  async remove(editor: BudgetEditor, budgetId: string): Promise<void> {
    const row = await this.store.find(ORGANISATION_ID, budgetId);
    if (row === null) throw budgetNotFound();
    await this.assertReach(editor, row);
    await this.source.transaction(async (tx) => {
      const locked = await this.store.lock(tx, ORGANISATION_ID, budgetId);
      if (locked?.deletedAtMs === null) await this.changes.remove(tx, editor.actor, locked);
    });
    await this.changes.inForce();
  }

  /** Rows with their live figures, in the given order. */
  async viewsOf(rows: readonly BudgetRow[]): Promise<BudgetView[]> {
    if (rows.length === 0) return [];
    const figures = await this.authority.figures(rows.map(({ budgetId }) => budgetId));
    const byId = new Map(figures.map((one) => [one.budgetId, one]));
    const unknown = rows.filter(({ budgetId }) => !byId.has(budgetId));
    const spent = await this.spendOfRows(unknown);
    return rows.map((row) =>
      viewOf(row, byId.get(row.budgetId) ?? null, spent.get(`${row.scope}/${row.scopeId}`)),
    );
  }

  /** A row the authority has not heard of yet: nothing can be held against it. */
  private async spendOfRows(rows: readonly BudgetRow[]): Promise<Map<string, PicoUsd>> {
    if (rows.length === 0) return new Map();
    const subjects = rows.map(({ scope, scopeId }) => ({ scope, subjectId: scopeId }));
    const spends = await this.authority.spendOf(subjects);
    return new Map(spends.map((spend) => [subjectName(spend), spend.settledPicoUsd]));
  }

  private async lockLive(tx: EntityTransaction, budgetId: string): Promise<BudgetRow> {
    const row = await this.store.lock(tx, ORGANISATION_ID, budgetId);
    if (row === null || row.deletedAtMs !== null) throw budgetNotFound();
    return row;
  }

  private async assertSubject(editor: BudgetEditor, target: BudgetRowTarget): Promise<void> {
    if (target.scope === 'key') return this.assertKey(editor, target.scopeId);
    if ((await this.teams.find(ORGANISATION_ID, target.scopeId)) === null) throw teamNotFound();
    if (editor.userId !== null) throw accessDenied();
  }

  private async assertKey(editor: BudgetEditor, keyId: string): Promise<void> {
    const key = await this.keys.find(ORGANISATION_ID, keyId as KeyId);
    if (key === null) throw keyNotFound();
    if (editor.userId !== null && key.userId !== editor.userId) throw accessDenied();
  }

  private async assertReach(editor: BudgetEditor, row: BudgetRow): Promise<void> {
    if (editor.userId === null) return;
    if (row.scope !== 'key') throw accessDenied();
    await this.assertKey(editor, row.scopeId);
  }
}

function matches(expectedTag: string, row: BudgetRow): boolean {
  if (expectedTag.trim() === '*') return true;
  return expectedTag.split(',').some((tag) => tag.trim() === budgetTag(row));
}

function viewOf(
  row: BudgetRow,
  figures: BudgetFigures | null,
  spentPicoUsd: PicoUsd = ZERO_PICO_USD,
): BudgetView {
  const settledPicoUsd = figures?.settledPicoUsd ?? spentPicoUsd;
  const exhausted = isExhausted(row.limitPicoUsd, settledPicoUsd);
  return {
    row,
    settledPicoUsd,
    heldPicoUsd: figures?.heldPicoUsd ?? ZERO_PICO_USD,
    status: statusOfBudget(row, settledPicoUsd, exhausted),
    periodStart: figures?.periodStart ?? null,
    periodEnd: figures?.periodEnd ?? null,
  };
}
