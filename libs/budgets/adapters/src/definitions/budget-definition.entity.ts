import { Column, Entity, PrimaryColumn } from 'typeorm';

import type { BudgetDefinitionV1, BudgetScope } from '#libs/events';
import type { PicoUsd } from '#libs/kernel';
import { timestampMs, usdAmount } from '#libs/platform/postgres';

/** One budget row as edited, live or deleted. */
@Entity({ schema: 'auth', name: 'budget_definition' })
export class BudgetDefinitionEntity {
  @PrimaryColumn({ name: 'budget_id', type: 'uuid' })
  budgetId!: string;

  @Column({ name: 'org_id', type: 'text' })
  orgId!: string;

  @Column({ type: 'text' })
  scope!: BudgetScope;

  @Column({ name: 'scope_id', type: 'text' })
  scopeId!: string;

  @Column({ type: 'text' })
  period!: BudgetDefinitionV1['period'];

  @Column({ name: 'limit_usd', type: 'numeric', transformer: usdAmount })
  limitPicoUsd!: PicoUsd;

  @Column({ type: 'text' })
  timezone!: string;

  @Column({ name: 'week_start', type: 'text' })
  weekStart!: string;

  @Column({ type: 'jsonb' })
  thresholds!: readonly number[];

  @Column({ type: 'boolean' })
  enabled!: boolean;

  @Column({ name: 'fail_policy', type: 'text' })
  failPolicy!: 'closed' | 'bounded_open';

  @Column({ type: 'integer' })
  rev!: number;

  @Column({ name: 'created_at', type: 'timestamptz', transformer: timestampMs })
  createdAtMs!: number;

  @Column({ name: 'updated_at', type: 'timestamptz', transformer: timestampMs })
  updatedAtMs!: number;

  @Column({ name: 'deleted_at', type: 'timestamptz', nullable: true, transformer: timestampMs })
  deletedAtMs!: number | null;
}
