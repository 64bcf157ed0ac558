-- Purpose:   the rows that finance reads: those of sealed batches.
-- Grain:     as raw_usage_v1 and raw_rejection_v1.
-- Key:       that of the tables.
-- Size:      none of its own.
-- Readers:   people and tools with SQL. Questions of the product bound the seals by time instead.
-- Retention: that of the tables.
CREATE VIEW IF NOT EXISTS ledger AS
SELECT * FROM raw_usage_v1 WHERE batch_id IN (SELECT batch_id FROM batch_seal);

CREATE VIEW IF NOT EXISTS ledger_rejection AS
SELECT * FROM raw_rejection_v1 WHERE batch_id IN (SELECT batch_id FROM batch_seal);
