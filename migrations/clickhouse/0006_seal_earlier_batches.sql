-- Purpose:   batches written before there were seals were visible, so each gets its rollup and its
--            seal, once: the last statement leaves a mark, after which none of these reads a row. A
--            batch written twice by a start that was broken off replaces itself.
INSERT INTO rollup_hour
SELECT
    toDateTime(toStartOfHour(occurred_at), 'UTC') AS cell_hour,
    org_id,
    team_id,
    key_id,
    user_id,
    provider,
    model,
    batch_id,
    any(toYYYYMM(recorded_at)),
    countIf(is_final),
    count(),
    countIf(provenance != 'measured'),
    sum(tokens_in),
    sum(tokens_out),
    sumMap(usage),
    sum(cost_usd),
    sum(charge_usd),
    0,
    0
FROM raw_usage_v1
WHERE (SELECT count() FROM batch_seal WHERE batch_id = 'sealed from here') = 0
GROUP BY cell_hour, org_id, team_id, key_id, user_id, provider, model, batch_id;

INSERT INTO batch_seal
SELECT
    batch_id,
    'request.completed',
    any(lane),
    any(toYYYYMM(recorded_at)),
    count(),
    sum(cost_usd),
    sum(charge_usd),
    toDateTime(toStartOfHour(min(occurred_at)), 'UTC'),
    toDateTime(toStartOfHour(max(occurred_at)), 'UTC'),
    max(recorded_at)
FROM raw_usage_v1
WHERE (SELECT count() FROM batch_seal WHERE batch_id = 'sealed from here') = 0
GROUP BY batch_id;

INSERT INTO batch_seal
SELECT
    batch_id,
    'request.rejected',
    0,
    any(toYYYYMM(recorded_at)),
    count(),
    0,
    0,
    toDateTime(toStartOfHour(min(occurred_at)), 'UTC'),
    toDateTime(toStartOfHour(max(occurred_at)), 'UTC'),
    max(recorded_at)
FROM raw_rejection_v1
WHERE (SELECT count() FROM batch_seal WHERE batch_id = 'sealed from here') = 0
GROUP BY batch_id;

INSERT INTO batch_seal
SELECT 'sealed from here', '', 0, 197001, 0, 0, 0, toDateTime(0, 'UTC'), toDateTime(0, 'UTC'), now64(3)
WHERE (SELECT count() FROM batch_seal WHERE batch_id = 'sealed from here') = 0;
