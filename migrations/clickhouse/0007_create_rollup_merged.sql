-- Purpose:   sums per closed hour over all batches of a merge: what figures of the past are read from.
-- Grain:     one row per hour, organisation, team, key, user, provider, model and merge run.
-- Key:       the whole order; a run writes its cells once, under a name that nobody used before.
-- Size:      about 80 bytes a row compressed.
-- Readers:   reporting (runs in force only), metering (the hourly check, rebuilds).
-- Retention: for ever while its run is in force, a day beyond otherwise.
--
-- Nothing here counts until rollup_run says so, and nothing is changed afterwards.
CREATE TABLE IF NOT EXISTS rollup_merged
(
    hour               DateTime('UTC'),
    org_id             LowCardinality(String),
    team_id            LowCardinality(Nullable(String)),
    key_id             String,
    user_id            String,
    provider           LowCardinality(String),
    model              LowCardinality(String),
    run                LowCardinality(String),
    requests           UInt64,
    attempts           UInt64,
    estimated_attempts UInt64,
    tokens_in          UInt64,
    tokens_out         UInt64,
    usage              Map(String, UInt64),
    cost_usd           Decimal(38, 12),
    charge_usd         Decimal(38, 12),
    made_at            DateTime('UTC')
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, org_id, team_id, key_id, user_id, provider, model, run)
SETTINGS
    allow_nullable_key = 1,
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- Purpose:   the same sums per day, without the half of the owner and model that a question leaves out:
--            what figures of whole days are read from.
-- Grain:     per merge run, day (UTC) and organisation one row for each team, provider and model
--            (grain `model`) and one for each team, key and user (grain `key`).
-- Key:       the whole order; columns of the other grain are empty.
-- Size:      about 80 bytes a row compressed, a tenth of the rows of rollup_merged and fewer.
-- Readers:   reporting (runs in force only), metering (the hourly check, rebuilds).
-- Retention: as rollup_merged.
CREATE TABLE IF NOT EXISTS rollup_merged_day
(
    grain              LowCardinality(String),
    day                DateTime('UTC'),
    org_id             LowCardinality(String),
    team_id            LowCardinality(Nullable(String)),
    key_id             String,
    user_id            String,
    provider           LowCardinality(String),
    model              LowCardinality(String),
    run                LowCardinality(String),
    attempts           UInt64,
    estimated_attempts UInt64,
    tokens_in          UInt64,
    tokens_out         UInt64,
    cost_usd           Decimal(38, 12),
    charge_usd         Decimal(38, 12),
    made_at            DateTime('UTC')
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (grain, day, org_id, team_id, key_id, user_id, provider, model, run)
SETTINGS
    allow_nullable_key = 1,
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- Purpose:   which batches a merge run holds: their cells are not read from rollup_hour.
-- Grain:     one row per run and batch; a batch is in one run in force at most.
-- Key:       batch_id within a run; ordered like batch_seal, which it is compared with.
-- Size:      about 80 bytes a row compressed, one row per batch of attempts.
-- Readers:   reporting, metering.
-- Retention: as rollup_merged.
--
-- The sums are those of the seal: together they are what the cells of the run must amount to.
CREATE TABLE IF NOT EXISTS rollup_merged_batch
(
    run        LowCardinality(String),
    batch_id   String,
    row_count  UInt64,
    cost_usd   Decimal(38, 12),
    charge_usd Decimal(38, 12),
    first_hour DateTime('UTC'),
    last_hour  DateTime('UTC'),
    made_at    DateTime('UTC'),
    INDEX first_hour_range first_hour TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(last_hour)
ORDER BY (last_hour, batch_id, run)
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;

-- Purpose:   which merge runs are in force; the one place that decides it.
-- Grain:     one row per decision: `merged` puts a run in force, `withdrawn` takes it back for good,
--            `changed` says that cells were written over, so that no run read before is put in force.
-- Key:       version, from 1, each written once: it is the token of its insert.
-- Size:      a few rows an hour.
-- Readers:   reporting, metering.
-- Retention: for ever.
--
-- A reader takes the highest version first and asks by it, so that one answer sees one set of runs.
CREATE TABLE IF NOT EXISTS rollup_run
(
    version UInt64,
    kind    LowCardinality(String),
    run     String,
    at      DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = MergeTree
ORDER BY version
SETTINGS
    non_replicated_deduplication_window = 10000,
    fsync_after_insert = 1,
    fsync_part_directory = 1;
