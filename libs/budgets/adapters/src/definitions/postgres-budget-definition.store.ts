import { In, IsNull, MoreThan, type EntityManager, type FindOptionsWhere } from 'typeorm';

import type { BudgetRow, BudgetRowTarget, BudgetSubject } from '#libs/budgets/core';
import type { BudgetScope } from '#libs/events';
import type { EntityTransaction } from '#libs/platform/postgres';

import { BudgetDefinitionEntity } from './budget-definition.entity.js';

/** Which live rows a list is about; null does not filter. */
export interface BudgetRowFilter {
  readonly orgId: string;
  readonly scope: BudgetScope | null;
  readonly scopeId: string | null;
  readonly period: BudgetRow['period'] | null;
  readonly enabled: boolean | null;
  /** Only rows of keys this user owns; null = every row. */
  readonly ownerUserId: string | null;
  /** Ids greater than this one. */
  readonly afterId: string | null;
}

/** Budget rows in schema `auth`. */
export class PostgresBudgetDefinitionStore {
  constructor(private readonly manager: () => EntityManager) {}

  /** A row by id, live or deleted; null when there never was one. */
  async find(orgId: string, budgetId: string): Promise<BudgetRow | null> {
    return this.manager().findOneBy(BudgetDefinitionEntity, { orgId, budgetId });
  }

  /** The same, locked until the transaction ends. */
  async lock(tx: EntityTransaction, orgId: string, budgetId: string): Promise<BudgetRow | null> {
    return tx.manager.findOne(BudgetDefinitionEntity, {
      where: { orgId, budgetId },
      lock: { mode: 'pessimistic_write' },
    });
  }

  /** The live row of a target, locked until the transaction ends; null when there is none. */
  async lockTarget(tx: EntityTransaction, target: BudgetRowTarget): Promise<BudgetRow | null> {
    return tx.manager.findOne(BudgetDefinitionEntity, {
      where: { ...targetOf(target), deletedAtMs: IsNull() },
      lock: { mode: 'pessimistic_write' },
    });
  }

  /** Adds a row. @throws a unique violation when its target has a live one */
  async insert(tx: EntityTransaction, row: BudgetRow): Promise<void> {
    await tx.manager.insert(BudgetDefinitionEntity, { ...row } as object);
  }

  /** Writes a changed row that is locked. */
  async update(tx: EntityTransaction, row: BudgetRow): Promise<void> {
    const { budgetId, ...columns } = row;
    await tx.manager.update(BudgetDefinitionEntity, { budgetId }, columns as object);
  }

  /** Live rows, ascending by id. @param limit at most this many */
  async list(filter: BudgetRowFilter, limit: number): Promise<BudgetRow[]> {
    const query = this.manager()
      .createQueryBuilder(BudgetDefinitionEntity, 'b')
      .where({ orgId: filter.orgId, deletedAtMs: IsNull(), ...givenOf(filter) })
      .orderBy('b.budgetId', 'ASC')
      .take(limit);
    if (filter.ownerUserId !== null) {
      query.andWhere(
        `b.scope = 'key' AND b.scope_id IN (
           SELECT key_id::text FROM auth.virtual_key WHERE org_id = :org AND user_id = :owner)`,
        { org: filter.orgId, owner: filter.ownerUserId },
      );
    }
    return query.getMany();
  }

  /**
   * Rows of every subject, ascending by id: live ones, and those deleted since a time.
   * @param afterId ids greater than this one; null = from the first
   */
  async page(afterId: string | null, deletedSinceMs: number, limit: number): Promise<BudgetRow[]> {
    const query = this.manager()
      .createQueryBuilder(BudgetDefinitionEntity, 'b')
      .where('(b.deleted_at IS NULL OR b.deleted_at >= to_timestamp(:since / 1000.0))', {
        since: deletedSinceMs,
      })
      .orderBy('b.budgetId', 'ASC')
      .take(limit);
    if (afterId !== null) query.andWhere('b.budget_id > :afterId', { afterId });
    return query.getMany();
  }

  /** Live rows of any of the subjects. */
  async ofSubjects(orgId: string, subjects: readonly BudgetSubject[]): Promise<BudgetRow[]> {
    const byScope = new Map<BudgetScope, string[]>();
    for (const { scope, subjectId } of subjects) {
      byScope.set(scope, [...(byScope.get(scope) ?? []), subjectId]);
    }
    if (byScope.size === 0) return [];
    return this.manager().findBy(
      BudgetDefinitionEntity,
      [...byScope].map(([scope, ids]) => ({
        orgId,
        scope,
        scopeId: In(ids),
        deletedAtMs: IsNull(),
      })),
    );
  }
}

function targetOf({ orgId, scope, scopeId, period }: BudgetRowTarget): BudgetRowTarget {
  return { orgId, scope, scopeId, period };
}

function givenOf(filter: BudgetRowFilter): FindOptionsWhere<BudgetDefinitionEntity> {
  const where: FindOptionsWhere<BudgetDefinitionEntity> = {};
  if (filter.scope !== null) where.scope = filter.scope;
  if (filter.scopeId !== null) where.scopeId = filter.scopeId;
  if (filter.period !== null) where.period = filter.period;
  if (filter.enabled !== null) where.enabled = filter.enabled;
  if (filter.afterId !== null) where.budgetId = MoreThan(filter.afterId);
  return where;
}
