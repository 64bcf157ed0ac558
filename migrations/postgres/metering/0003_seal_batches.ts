import { SqlMigration } from '#libs/platform/postgres';

/** The queue of batches that wait for their seal, and the rebuilds of the ledger. */
export class SealBatches extends SqlMigration {
  override readonly number = 3;
  override readonly title = 'seal_batches';
  override readonly sql = `
    -- One row per finished batch with rows; kept as long as its plan.
    CREATE TABLE seal_queue (
      batch_id text COLLATE "C" PRIMARY KEY CHECK (length(batch_id) = 64),
      topic text COLLATE "C" NOT NULL,
      partition integer NOT NULL,
      -- YYYYMM of recorded_at; one batch lies in one month.
      month integer NOT NULL,
      row_count integer NOT NULL CHECK (row_count > 0),
      cost_usd numeric(38,12) NOT NULL,
      charge_usd numeric(38,12) NOT NULL,
      -- Hours in which its rows occurred, and when the first of them was recorded.
      first_hour timestamptz NOT NULL,
      last_hour timestamptz NOT NULL CHECK (last_hour >= first_hour),
      recorded_from timestamptz NOT NULL,
      done_at timestamptz
    ) WITH (fillfactor = 70);
    CREATE INDEX seal_queue_waiting ON seal_queue (recorded_from) WHERE done_at IS NULL;
    CREATE INDEX seal_queue_done_at ON seal_queue (done_at) WHERE done_at IS NOT NULL;

    -- Rebuilds of rollups or of ledger rows; at most one runs at a time.
    CREATE TABLE rebuild (
      rebuild_id uuid PRIMARY KEY,
      kind text NOT NULL CHECK (kind IN ('rollups', 'ledger')),
      -- [from_at, to_at): hours in which rows occurred (rollups), or when they were recorded (ledger).
      from_at timestamptz NOT NULL,
      to_at timestamptz NOT NULL CHECK (to_at > from_at),
      is_applied boolean NOT NULL,
      state text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
      -- Where the next step begins; null before the first.
      next_step text,
      report jsonb NOT NULL,
      error text,
      -- Until when the process that works on it may be believed alive.
      claimed_until timestamptz,
      created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      finished_at timestamptz CHECK ((finished_at IS NULL) = (state = 'running'))
    );
    CREATE UNIQUE INDEX rebuild_running ON rebuild ((true)) WHERE state = 'running';
    CREATE INDEX rebuild_created_at ON rebuild (created_at DESC);
  `;
}
