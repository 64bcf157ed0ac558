import {
  BudgetOutbox,
  BudgetReconciler,
  PostgresBudgetAuthority,
  settleRated,
  type RatedMessage,
  type SettlementReport,
} from '#libs/budgets/adapters';
import type { BudgetDefinitionInput, BudgetSubject, PlaceHoldInput } from '#libs/budgets/core';
import type { UsageRatedV1 } from '#libs/events';
import { parseUsd, SystemClock, SystemRandom, uuidV4 } from '#libs/kernel';
import { OutboxWriter, type Database } from '#libs/platform/postgres';
import { eventually, startTestPostgres, type TestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

const random = new SystemRandom();

/** The guard's parts on one database, as one process has them. */
export class Guard {
  readonly outbox = new BudgetOutbox(new OutboxWriter(), new SystemClock(), random);
  readonly authority: PostgresBudgetAuthority;
  readonly reconciler: BudgetReconciler;

  constructor(readonly database: Database) {
    this.authority = new PostgresBudgetAuthority({ database, outbox: this.outbox });
    this.reconciler = new BudgetReconciler(database, this.outbox);
  }

  settle(...rated: readonly UsageRatedV1[]): Promise<SettlementReport> {
    return this.database.transaction((tx) => settleRated(tx, this.outbox, rated.map(message)));
  }

  /** What was published, in order: type and data. */
  async published(): Promise<readonly Published[]> {
    const { rows } = await this.database.query<{ type: string; body: Buffer }>(
      'SELECT type, body FROM outbox ORDER BY seq',
    );
    return rows.map((row) => ({
      type: row.type,
      data: JSON.parse(row.body.toString('utf8')) as Record<string, unknown>,
    }));
  }
}

/** One record of the outbox. */
export interface Published {
  readonly type: string;
  readonly data: Record<string, unknown>;
}

/**
 * Asks again until it is answered, as callers of the authority do: a row may be locked for longer than
 * it waits. What was decided stays decided.
 */
export async function untilAnswered<T>(call: () => Promise<T>): Promise<T> {
  const answered = await eventually(async () => ({ answer: await call() }), {
    deadlineMs: 60_000,
  });
  return answered.answer;
}

/** A database with the guard's schema. */
export async function startGuardPostgres(): Promise<TestPostgres> {
  return startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
}

/** A fresh id that no other test uses. */
export function freshId(): string {
  return uuidV4(random);
}

/** A key of its own, as a subject. */
export function freshKey(): BudgetSubject {
  return { scope: 'key', subjectId: freshId() };
}

/** The first definition of a new budget without thresholds. */
export function definition(
  subject: BudgetSubject,
  limitUsd: string,
  change: Partial<BudgetDefinitionInput> = {},
): BudgetDefinitionInput {
  return {
    budgetId: freshId(),
    scope: subject.scope,
    subjectId: subject.subjectId,
    period: 'total',
    limitPicoUsd: parseUsd(limitUsd),
    thresholds: [],
    enabled: true,
    deleted: false,
    rev: 1,
    ...change,
  };
}

/** A request for exactly one amount, or for anything from `leastUsd` on. */
export function want(
  subjects: readonly BudgetSubject[],
  wantUsd: string,
  leastUsd = wantUsd,
): PlaceHoldInput {
  return {
    holdId: `${freshId()}.1`,
    subjects,
    wantPicoUsd: parseUsd(wantUsd),
    leastPicoUsd: parseUsd(leastUsd),
  };
}

/** A rated batch over source offsets; every subject is charged the same. */
export function rated(
  range: readonly [number, number],
  subjects: readonly BudgetSubject[],
  chargeUsd: string,
  holds: readonly (readonly [string, string])[] = [],
): UsageRatedV1 {
  return {
    batch_id: `${freshId()}${freshId()}`.replaceAll('-', ''),
    source: {
      topic: 'request.completed',
      partition: 0,
      first: String(range[0]),
      last: String(range[1]),
    },
    subjects: subjects.map((subject) => ({
      scope: subject.scope,
      subject_id: subject.subjectId,
      events: 1,
      charge_pusd: String(parseUsd(chargeUsd)),
      tokens_in: 1,
      tokens_out: 1,
    })),
    holds: holds.map(([holdId, holdChargeUsd]) => ({
      hold_id: holdId,
      charge_pusd: String(parseUsd(holdChargeUsd)),
      provenance: 'measured',
    })),
    watermarks: [],
  };
}

/** A batch with its bytes as the log would carry them. */
export function message(batch: UsageRatedV1): RatedMessage {
  return { rated: batch, value: Buffer.from(JSON.stringify(batch)) };
}
