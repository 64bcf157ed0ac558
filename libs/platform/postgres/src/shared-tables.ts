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
