-- usage.sums
SELECT toUnixTimestamp(toStartOfHour(occurred_at)) * 1000 AS bucket_start_ms, team_id, model, count() AS requests, sum(tokens_in) AS sum_tokens_in, sum(tokens_out) AS sum_tokens_out, sum(cost_usd) AS sum_cost_usd, sum(charge_usd) AS sum_charge_usd, countIf(provenance != 'measured') AS estimated_requests
FROM raw_usage_v1
WHERE org_id = {org_id:String} AND occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC') AND key_id IN {key_ids:Array(String)} AND team_id IN {team_ids:Array(String)} AND user_id IN {user_ids:Array(String)} AND model IN {models:Array(String)} AND provider IN {providers:Array(String)}
GROUP BY bucket_start_ms, team_id, model
HAVING requests > 0
ORDER BY bucket_start_ms NULLS LAST, team_id NULLS LAST, model NULLS LAST
LIMIT {row_limit:UInt32}
-- {"org_id":"default","start_ms":1000,"end_ms":2000,"key_ids":["k' OR 1=1 --"],"team_ids":["t"],"user_ids":["u"],"models":["m","n"],"providers":["p"],"row_limit":11}
