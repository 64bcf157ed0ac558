/**
 * DDL of `log_position`: where a consumer reads on and its fence, one row per partition.
 * The name is resolved in the search path of the migration.
 */
export const LOG_POSITION_DDL = `
CREATE TABLE log_position (
  topic       text        NOT NULL,
  partition   integer     NOT NULL,
  next_offset bigint      NOT NULL CHECK (next_offset >= 0),
  epoch       bigint      NOT NULL CHECK (epoch >= 1),
  taken_at    timestamptz NOT NULL,
  PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);
`;

/**
 * DDL of `outbox_lane` (one row per topic and partition a service publishes to) and `outbox` (one
 * row per record, kept 24 h after sending). The names are resolved in the search path.
 */
export const OUTBOX_DDL = `
CREATE TABLE outbox_lane (
  topic       text    NOT NULL,
  lane        integer NOT NULL,
  next_seq    bigint  NOT NULL CHECK (next_seq >= 1),
  sent_seq    bigint  NOT NULL DEFAULT 0 CHECK (sent_seq < next_seq),
  relay_epoch bigint  NOT NULL DEFAULT 0,
  PRIMARY KEY (topic, lane)
) WITH (fillfactor = 50);
CREATE TABLE outbox (
  topic      text        NOT NULL,
  lane       integer     NOT NULL,
  seq        bigint      NOT NULL,
  type       text        NOT NULL,
  key        text        NOT NULL,
  headers    text        NOT NULL,
  body       bytea       NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  sent_at    timestamptz,
  PRIMARY KEY (topic, lane, seq)
);
CREATE INDEX outbox_sent_at ON outbox (sent_at) WHERE sent_at IS NOT NULL;
`;

/**
 * DDL of `dead_letter`: one row per record that a consumer can never read, as it came. `headers` are
 * the UTF-8 text of a JSON object and `key` is UTF-8: raw bytes, because SQL text cannot hold all that
 * a record can. `booked`: a row at the hold stands in the ledger for it.
 */
export const DEAD_LETTER_DDL = `
CREATE TABLE dead_letter (
  topic      text        NOT NULL,
  partition  integer     NOT NULL,
  "offset"   bigint      NOT NULL,
  class      text        NOT NULL,
  error      text        NOT NULL,
  key        bytea       NOT NULL,
  headers    bytea       NOT NULL,
  payload    bytea       NOT NULL,
  booked     boolean     NOT NULL,
  state      text        NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'retried', 'discarded')),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (topic, partition, "offset")
);
`;
