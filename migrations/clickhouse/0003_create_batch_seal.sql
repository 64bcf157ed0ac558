-- Purpose:   which batches are history: figures count a row only if its batch has a seal.
-- Grain:     one row per batch; a repeat says the same again and replaces itself.
-- Key:       batch_id; last_hour leads the order so that a question reads the seals of its time only.
-- Size:      about 80 bytes a row compressed, one row per batch of up to 5,000 attempts.
-- Readers:   reporting, metering (orphans, the check of rollups).
-- Retention: for ever.
--
-- first_hour and last_hour bound when the rows of the batch occurred: a question for [start, end)
-- needs the seals with last_hour >= start and first_hour < end.
CREATE TABLE IF NOT EXISTS batch_seal
(
    batch_id       String,
    topic          LowCardinality(String),
    partition      UInt32,
    recorded_month UInt32,
    row_count      UInt64,
    cost_usd       Decimal(38, 12),
    charge_usd     Decimal(38, 12),
    first_hour     DateTime('UTC'),
    last_hour      DateTime('UTC'),
    sealed_at      DateTime64(3, 'UTC'),
    INDEX first_hour_range first_hour TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(sealed_at)
PARTITION BY recorded_month
ORDER BY (last_hour, batch_id)
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
