-- Purpose:   requests refused before anything went upstream; they cost nothing.
-- Grain:     one row per refusal of a request whose key is known.
-- Key:       event_id, unique for the life of the ledger; batch_id ties a row to its batch plan.
-- Size:      about 80 bytes a row compressed.
-- Readers:   metering (verification by batch_id), reporting (counts by reason).
-- Retention: for ever.
CREATE TABLE IF NOT EXISTS raw_rejection_v1
(
    event_id        UUID,
    batch_id        String,
    request_id      UUID,
    org_id          LowCardinality(String),
    key_id          String,
    team_id         LowCardinality(Nullable(String)),
    user_id         String,
    model_requested Nullable(String),
    reason          LowCardinality(String),
    code            LowCardinality(String),
    occurred_at     DateTime64(3, 'UTC'),
    recorded_at     DateTime64(3, 'UTC'),
    INDEX batch_id_bloom batch_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX occurred_at_range occurred_at TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (org_id, key_id, recorded_at, event_id)
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
