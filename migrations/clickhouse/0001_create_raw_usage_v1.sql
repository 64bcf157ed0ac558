-- Purpose:   the ledger of usage, rated: what every figure of the product is summed from.
-- Grain:     one row per upstream attempt.
-- Key:       event_id, unique for the life of the ledger; batch_id ties a row to its batch plan.
-- Size:      about 300 bytes a row compressed, most of it the verbatim usage object.
-- Readers:   metering (verification by batch_id), reporting (figures by time and owner).
-- Retention: for ever; nothing is updated, a correction is another row.
--
-- recorded_at is the append time in the log, so a batch lies in the partition its plan names.
-- The deduplication window is off by default on plain MergeTree. Without the two fsync settings a
-- part is not on the disk when the insert is answered.
CREATE TABLE IF NOT EXISTS raw_usage_v1
(
    event_id            UUID,
    batch_id            String,
    request_id          UUID,
    attempt             UInt16,
    is_final            Bool,
    org_id              LowCardinality(String),
    key_id              String,
    team_id             LowCardinality(Nullable(String)),
    user_id             String,
    provider            LowCardinality(String),
    model_requested     String,
    model               LowCardinality(String),
    model_served        LowCardinality(Nullable(String)),
    operation           LowCardinality(String),
    is_stream           Bool,
    service_tier        LowCardinality(Nullable(String)),
    status              LowCardinality(String),
    http_status         Nullable(UInt16),
    provenance          LowCardinality(String),
    usage_source        LowCardinality(String),
    source              LowCardinality(String),
    raw_usage           Nullable(String) CODEC(ZSTD(1)),
    usage               Map(String, UInt64),
    tokens_in           UInt64,
    tokens_out          UInt64,
    price_id            Nullable(String),
    price_version       LowCardinality(String),
    price_state         LowCardinality(String),
    cost_usd            Decimal(38, 12),
    charge_usd          Decimal(38, 12),
    hold_usd            Decimal(38, 12),
    hold_id             Nullable(String),
    flags               Array(LowCardinality(String)),
    finish_reason       LowCardinality(Nullable(String)),
    admitted_at         DateTime64(3, 'UTC'),
    occurred_at         DateTime64(3, 'UTC'),
    recorded_at         DateTime64(3, 'UTC'),
    latency_ms          UInt64,
    ttft_ms             Nullable(UInt64),
    upstream_request_id Nullable(String),
    emitter_id          String,
    lane                UInt32,
    emitter_seq         UInt64,
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
