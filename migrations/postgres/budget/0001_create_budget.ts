import {
  DEAD_LETTER_DDL,
  LOG_POSITION_DDL,
  OUTBOX_DDL,
  SqlMigration,
} from '#libs/platform/postgres';

/**
 * Whether an account is exhausted, as `isExhausted` defines it: limit - settled <= min($0.0001,
 * limit / 1000) at twelve digits, cut off. Multiplied, because a numeric division would round.
 */
const EXHAUSTED = `limit_usd - settled_usd <= least(0.0001, trunc(limit_usd * 0.001, 12))`;

/** Running accounts of budgets, holds, what was settled and what was announced. */
export class CreateBudget extends SqlMigration {
  override readonly number = 1;
  override readonly title = 'create_budget';
  override readonly sql = `
    -- One row per (budget, epoch); locked by every admission, settlement and definition of it.
    CREATE TABLE budget_account (
      budget_id uuid NOT NULL,
      epoch integer NOT NULL CHECK (epoch > 0),
      scope text COLLATE "C" NOT NULL CHECK (scope IN ('key', 'team', 'user', 'organisation')),
      subject_id text COLLATE "C" NOT NULL CHECK (length(subject_id) BETWEEN 1 AND 255),
      period text NOT NULL,
      limit_usd numeric(38,12) NOT NULL CHECK (limit_usd >= 0),
      settled_usd numeric(38,12) NOT NULL DEFAULT 0 CHECK (settled_usd >= 0),
      held_usd numeric(38,12) NOT NULL DEFAULT 0 CHECK (held_usd >= 0),
      leased_usd numeric(38,12) NOT NULL DEFAULT 0 CHECK (leased_usd >= 0),
      thresholds double precision[] NOT NULL,
      fired_thresholds double precision[] NOT NULL DEFAULT '{}',
      enabled boolean NOT NULL,
      deleted boolean NOT NULL,
      is_current boolean NOT NULL DEFAULT true,
      blocked boolean NOT NULL DEFAULT false,
      budget_rev integer NOT NULL DEFAULT 0 CHECK (budget_rev >= 0),
      definition_rev integer NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (budget_id, epoch)
    ) WITH (fillfactor = 70);
    CREATE UNIQUE INDEX budget_account_current ON budget_account (budget_id) WHERE is_current;
    CREATE INDEX budget_account_subject ON budget_account (scope, subject_id) WHERE is_current;
    -- Both are empty unless the reconciler has work.
    CREATE INDEX budget_account_block_missing ON budget_account (budget_id)
      WHERE NOT blocked AND is_current AND enabled AND NOT deleted AND ${EXHAUSTED};
    CREATE INDEX budget_account_block_stale ON budget_account (budget_id)
      WHERE blocked AND NOT (is_current AND enabled AND NOT deleted AND ${EXHAUSTED});

    -- What each subject was ever charged; a new budget starts from it. Locked before any account.
    CREATE TABLE subject_spend (
      scope text COLLATE "C" NOT NULL,
      subject_id text COLLATE "C" NOT NULL CHECK (length(subject_id) BETWEEN 1 AND 255),
      settled_usd numeric(38,12) NOT NULL CHECK (settled_usd >= 0),
      PRIMARY KEY (scope, subject_id)
    ) WITH (fillfactor = 70);

    -- One row per attempt that money was set aside for. A row released with amount 0 stands for an id
    -- that was given back before it was placed. Ended rows are kept 7 days.
    CREATE TABLE hold (
      hold_id text COLLATE "C" PRIMARY KEY CHECK (length(hold_id) BETWEEN 1 AND 100),
      emitter_id text COLLATE "C" NOT NULL CHECK (length(emitter_id) BETWEEN 1 AND 64),
      amount_usd numeric(38,12) NOT NULL CHECK (amount_usd >= 0),
      -- Budgets it was taken from, ascending, and their epochs at the same places.
      budget_ids uuid[] NOT NULL,
      epochs integer[] NOT NULL CHECK (cardinality(epochs) = cardinality(budget_ids)),
      state text NOT NULL CHECK (state IN ('open', 'settled', 'released')),
      charge_usd numeric(38,12) CHECK ((charge_usd IS NULL) = (state <> 'settled')),
      placed_at timestamptz NOT NULL DEFAULT now(),
      ended_at timestamptz CHECK ((ended_at IS NULL) = (state = 'open'))
    );
    CREATE INDEX hold_open ON hold (emitter_id, hold_id) WHERE state = 'open';
    CREATE INDEX hold_ended ON hold (ended_at) WHERE state <> 'open';

    -- One row per rated batch whose charges are in the accounts; kept 7 days.
    CREATE TABLE applied_batch (
      batch_id text COLLATE "C" PRIMARY KEY,
      topic text NOT NULL,
      partition integer NOT NULL,
      first bigint NOT NULL,
      last bigint NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX applied_batch_age ON applied_batch (applied_at);

    -- Every source offset below next_offset is settled; ids of batches below pruned_below are gone.
    CREATE TABLE applied_through (
      topic text NOT NULL,
      partition integer NOT NULL,
      next_offset bigint NOT NULL,
      pruned_below bigint NOT NULL DEFAULT 0 CHECK (pruned_below <= next_offset),
      PRIMARY KEY (topic, partition)
    );

    -- Rated batches ahead of a hole, as received; they are settled when the hole is filled.
    CREATE TABLE parked_batch (
      batch_id text COLLATE "C" PRIMARY KEY,
      topic text NOT NULL,
      partition integer NOT NULL,
      first bigint NOT NULL,
      last bigint NOT NULL,
      body bytea NOT NULL,
      parked_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX parked_batch_order ON parked_batch (topic, partition, first);

    -- Each announced change of a budget's blocked state; append-only.
    CREATE TABLE block (
      budget_id uuid NOT NULL,
      epoch integer NOT NULL,
      budget_rev integer NOT NULL,
      scope text NOT NULL,
      subject_id text NOT NULL,
      blocked boolean NOT NULL,
      at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (budget_id, epoch, budget_rev)
    );

    -- Charges that their hold did not cover; append-only.
    CREATE TABLE overrun (
      hold_id text COLLATE "C" NOT NULL,
      batch_id text COLLATE "C" NOT NULL,
      held_usd numeric(38,12) NOT NULL,
      charge_usd numeric(38,12) NOT NULL,
      cause text NOT NULL CHECK (cause IN ('charge_above_hold', 'hold_not_open')),
      at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (hold_id, batch_id)
    );

    ${DEAD_LETTER_DDL}
    ${LOG_POSITION_DDL}
    ${OUTBOX_DDL}
  `;
}
