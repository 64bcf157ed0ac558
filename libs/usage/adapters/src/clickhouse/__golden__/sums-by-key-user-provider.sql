-- usage.sums
SELECT key_id, user_id, provider, count() AS requests, sum(tokens_in) AS sum_tokens_in, sum(tokens_out) AS sum_tokens_out, sum(cost_usd) AS sum_cost_usd, sum(charge_usd) AS sum_charge_usd, countIf(provenance != 'measured') AS estimated_requests
FROM raw_usage_v1
WHERE org_id = {org_id:String} AND occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
GROUP BY key_id, user_id, provider
HAVING requests > 0
ORDER BY key_id NULLS LAST, user_id NULLS LAST, provider NULLS LAST
LIMIT {row_limit:UInt32}
-- {"org_id":"default","start_ms":1000,"end_ms":2000,"row_limit":10001}
