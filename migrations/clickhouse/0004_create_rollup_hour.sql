-- Purpose:   sums per hour: what figures of whole hours are read from.
-- Grain:     one row per hour, organisation, team, key, user, provider, model and batch.
-- Key:       the whole order: a batch written again replaces itself, the highest revision stays.
-- Size:      about 100 bytes a row compressed.
-- Readers:   reporting (FINAL, sealed batches only), metering (the hourly check, rebuilds).
-- Retention: for ever.
--
-- Reads never depend on merges: they use FINAL. revision is 0 as the sink writes it; a repair writes
-- a higher one, with is_deleted for a cell that no row stands behind. A batch lies in one partition,
-- because all its rows were recorded in one month.
CREATE TABLE IF NOT EXISTS rollup_hour
(
    hour               DateTime('UTC'),
    org_id             LowCardinality(String),
    team_id            LowCardinality(Nullable(String)),
    key_id             String,
    user_id            String,
    provider           LowCardinality(String),
    model              LowCardinality(String),
    batch_id           String,
    recorded_month     UInt32,
    requests           UInt64,
    attempts           UInt64,
    estimated_attempts UInt64,
    tokens_in          UInt64,
    tokens_out         UInt64,
    usage              Map(String, UInt64),
    cost_usd           Decimal(38, 12),
    charge_usd         Decimal(38, 12),
    revision           UInt64,
    is_deleted         UInt8
)
ENGINE = ReplacingMergeTree(revision, is_deleted)
PARTITION BY recorded_month
ORDER BY (hour, org_id, team_id, key_id, user_id, provider, model, batch_id)
SETTINGS
    allow_nullable_key = 1,
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
