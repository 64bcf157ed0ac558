import type {
  PostgresBudgetDefinitionStore,
  PostgresBudgetStateStore,
} from '#libs/budgets/adapters';
import type { BudgetRow } from '#libs/budgets/core';
import type { Clock } from '#libs/kernel';
import type { PostgresKeyStore } from '#libs/keys/adapters';
import { KeyDirectory, type KeyRecord, type ServedCatalog, type VirtualKey } from '#libs/keys/core';
import type { Database } from '#libs/platform/postgres';

import { ORGANISATION_ID } from '../auth-options.js';
import { subjectName, subjectsOfKey } from '../use-cases/live-figures.js';

/** Keys, blocks and catalogue as the data plane asks for them; asks no other service. */
export class AuthKeyDirectory extends KeyDirectory {
  constructor(
    private readonly keys: PostgresKeyStore,
    private readonly budgets: PostgresBudgetDefinitionStore,
    private readonly states: PostgresBudgetStateStore,
    private readonly database: Database,
    private readonly served: ServedCatalog,
    private readonly clock: Clock,
  ) {
    super();
  }

  async findByDigest(digests: readonly string[]): Promise<KeyRecord | null> {
    const found = await this.keys.findByDigest(digests, this.clock.nowMs());
    if (found === null) return null;
    const [record] = await this.recordsOf([found.key]);
    return withinGrace(record!, found.validUntilMs);
  }

  async findByIds(keyIds: readonly string[]): Promise<readonly KeyRecord[]> {
    return this.recordsOf(await this.keys.findByIds(keyIds));
  }

  async catalog(): Promise<ServedCatalog> {
    return this.served;
  }

  private async recordsOf(keys: readonly VirtualKey[]): Promise<KeyRecord[]> {
    const rows = await this.budgets.ofSubjects(ORGANISATION_ID, keys.flatMap(subjectsOfKey));
    const enabled = rows.filter((row) => row.enabled);
    const bySubject = Map.groupBy(enabled, (row) => `${row.scope}/${row.scopeId}`);
    const ids = enabled.map(({ budgetId }) => budgetId);
    const states = await this.states.find(this.database, ids);
    return keys.map((key) => {
      const covering = subjectsOfKey(key).flatMap((one) => bySubject.get(subjectName(one)) ?? []);
      const spent = covering.find(({ budgetId }) => states.get(budgetId)?.exhausted === true);
      return {
        keyId: key.keyId,
        orgId: key.orgId,
        userId: key.userId,
        teamId: key.teamId,
        ...(key.teamId !== null && key.teamRecordId === null ? { teamIsLabel: true as const } : {}),
        enabled: key.enabled,
        deleted: key.deletedAtMs !== null,
        expiresAtMs: key.expiresAtMs,
        allowedModels: key.allowedModels,
        block: spent === undefined ? null : blockOf(spent, states.get(spent.budgetId)!.resetsAt),
        budgetIds: covering.map(({ budgetId }) => budgetId),
        rev: key.rev,
      };
    });
  }
}

/** A record found by a former secret ends with its grace, however long a caller keeps the record. */
function withinGrace(record: KeyRecord, validUntilMs: number | null): KeyRecord {
  if (validUntilMs === null) return record;
  const lastMs = validUntilMs - 1;
  const expiresAtMs = record.expiresAtMs === null ? lastMs : Math.min(record.expiresAtMs, lastMs);
  return { ...record, expiresAtMs };
}

function blockOf(row: BudgetRow, resetsAt: string | null): NonNullable<KeyRecord['block']> {
  return {
    reason: 'budget',
    scope: row.scope,
    budget_id: row.budgetId,
    period: row.period,
    resets_at: resetsAt,
  };
}
