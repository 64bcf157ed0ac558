-- usage.sums
SELECT key_id, user_id, provider, sum(attempts) AS requests, sum(tokens_in) AS sum_tokens_in, sum(tokens_out) AS sum_tokens_out, sum(cost_usd) AS sum_cost_usd, sum(charge_usd) AS sum_charge_usd, sum(estimated_attempts) AS estimated_requests
FROM (
  SELECT toDateTime(occurred_at, 'UTC') AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, toUInt64(1) AS attempts, toUInt64(provenance != 'measured') AS estimated_attempts
  FROM raw_usage_v1
  WHERE org_id = {org_id:String} AND batch_id IN (SELECT batch_id FROM batch_seal WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC')) AND occurred_at >= fromUnixTimestamp64Milli({head_start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({head_end_ms:Int64}, 'UTC')
)
GROUP BY key_id, user_id, provider
HAVING requests > 0
ORDER BY key_id NULLS LAST, user_id NULLS LAST, provider NULLS LAST
LIMIT {row_limit:UInt32}
-- {"org_id":"default","head_start_ms":1000,"head_end_ms":2000,"seal_start_s":0,"seal_end_s":2,"row_limit":10001}
