-- usage.sums
SELECT toUnixTimestamp(toStartOfHour(at)) * 1000 AS bucket_start_ms, team_id, model, sum(attempts) AS requests, sum(tokens_in) AS sum_tokens_in, sum(tokens_out) AS sum_tokens_out, sum(cost_usd) AS sum_cost_usd, sum(charge_usd) AS sum_charge_usd, sum(estimated_attempts) AS estimated_requests
FROM (
  SELECT toDateTime(occurred_at, 'UTC') AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, toUInt64(1) AS attempts, toUInt64(provenance != 'measured') AS estimated_attempts
  FROM raw_usage_v1
  WHERE org_id = {org_id:String} AND key_id IN {key_ids:Array(String)} AND team_id IN {team_ids:Array(String)} AND user_id IN {user_ids:Array(String)} AND model IN {models:Array(String)} AND provider IN {providers:Array(String)} AND batch_id IN (SELECT batch_id FROM batch_seal WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC')) AND occurred_at >= fromUnixTimestamp64Milli({head_start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({head_end_ms:Int64}, 'UTC')
)
GROUP BY bucket_start_ms, team_id, model
HAVING requests > 0
ORDER BY bucket_start_ms NULLS LAST, team_id NULLS LAST, model NULLS LAST
LIMIT {row_limit:UInt32}
-- {"org_id":"default","key_ids":["k' OR 1=1 --"],"team_ids":["t"],"user_ids":["u"],"models":["m","n"],"providers":["p"],"head_start_ms":1000,"head_end_ms":2000,"seal_start_s":0,"seal_end_s":2,"row_limit":11}
