-- usage.sums
SELECT toUnixTimestamp(toStartOfDay(occurred_at)) * 1000 AS bucket_start_ms, count() AS requests, sum(tokens_in) AS sum_tokens_in, sum(tokens_out) AS sum_tokens_out, sum(cost_usd) AS sum_cost_usd, sum(charge_usd) AS sum_charge_usd, countIf(provenance != 'measured') AS estimated_requests
FROM raw_usage_v1
WHERE org_id = {org_id:String} AND occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
GROUP BY bucket_start_ms
HAVING requests > 0
ORDER BY bucket_start_ms NULLS LAST
LIMIT {row_limit:UInt32}
-- {"org_id":"default","start_ms":1000,"end_ms":2000,"row_limit":10001}
