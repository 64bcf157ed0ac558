import {
  DEAD_LETTER_DDL,
  LOG_POSITION_DDL,
  OUTBOX_DDL,
  SqlMigration,
} from '#libs/platform/postgres';

/** Batch plans, emitter streams and their gaps, dead letters, price copies, offsets, outbox. */
export class CreateMetering extends SqlMigration {
  override readonly number = 1;
  override readonly title = 'create_metering';
  override readonly sql = `
    -- One row per batch; DONE rows are kept 7 days. Offsets are inclusive; first_offset is the
    -- previous last_offset + 1. dropped: offsets of records that were repeats when the batch was
    -- formed, so that the same rows can be formed again later.
    CREATE TABLE sink_plan (
      batch_id text COLLATE "C" PRIMARY KEY CHECK (length(batch_id) = 64),
      topic text COLLATE "C" NOT NULL,
      partition integer NOT NULL,
      first_offset bigint NOT NULL CHECK (first_offset >= 0),
      last_offset bigint NOT NULL CHECK (last_offset >= first_offset),
      row_count integer NOT NULL CHECK (row_count >= 0),
      input_sha256 bytea NOT NULL CHECK (length(input_sha256) = 32),
      dropped bigint[] NOT NULL,
      rater integer NOT NULL,
      -- YYYYMM of recorded_at; one batch lies in one month.
      month integer NOT NULL,
      cost_usd numeric(38,12) NOT NULL,
      charge_usd numeric(38,12) NOT NULL,
      -- Unsigned 64 bit.
      xor64 numeric(20,0) NOT NULL,
      -- The deduplication token of the latest insert that was begun.
      token text NOT NULL,
      state text NOT NULL CHECK (state IN ('PREPARED', 'DONE')),
      created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      done_at timestamptz CHECK ((done_at IS NULL) = (state = 'PREPARED')),
      UNIQUE (topic, partition, first_offset)
    );
    CREATE UNIQUE INDEX sink_plan_prepared ON sink_plan (topic, partition) WHERE state = 'PREPARED';
    CREATE INDEX sink_plan_done_at ON sink_plan (done_at) WHERE state = 'DONE';

    -- One row per emitter and lane; all sequences up to contiguous_seq have arrived.
    CREATE TABLE emitter_watermark (
      emitter_id text COLLATE "C" NOT NULL CHECK (length(emitter_id) = 32),
      lane integer NOT NULL CHECK (lane >= 0),
      contiguous_seq bigint NOT NULL CHECK (contiguous_seq >= 0),
      high_seq bigint NOT NULL CHECK (high_seq >= contiguous_seq),
      PRIMARY KEY (emitter_id, lane)
    ) WITH (fillfactor = 50);

    -- Sequences that have not arrived, both ends inclusive; disjoint while open.
    CREATE TABLE emitter_gap (
      emitter_id text COLLATE "C" NOT NULL,
      lane integer NOT NULL,
      from_seq bigint NOT NULL CHECK (from_seq >= 1),
      to_seq bigint NOT NULL CHECK (to_seq >= from_seq),
      detected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      resolved_at timestamptz,
      lost boolean NOT NULL DEFAULT false,
      PRIMARY KEY (emitter_id, lane, from_seq)
    );
    CREATE INDEX emitter_gap_open ON emitter_gap (emitter_id, lane) WHERE resolved_at IS NULL;

    -- Copies of prices by content; the id is the hash of the body, so a row never changes.
    CREATE TABLE price_entry (
      price_id text COLLATE "C" PRIMARY KEY CHECK (length(price_id) = 64),
      body text NOT NULL,
      created_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );

    ${DEAD_LETTER_DDL}
    ${LOG_POSITION_DDL}
    ${OUTBOX_DDL}
  `;
}
