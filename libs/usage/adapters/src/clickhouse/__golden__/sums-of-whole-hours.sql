-- usage.sums
SELECT sum(attempts) AS requests, sum(tokens_in) AS sum_tokens_in, sum(tokens_out) AS sum_tokens_out, sum(cost_usd) AS sum_cost_usd, sum(charge_usd) AS sum_charge_usd, sum(estimated_attempts) AS estimated_requests
FROM (
  SELECT hour AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, attempts, estimated_attempts
  FROM rollup_hour FINAL
  WHERE org_id = {org_id:String} AND batch_id IN (SELECT batch_id FROM batch_seal WHERE last_hour >= fromUnixTimestamp64Milli({seal_start_ms:Int64}, 'UTC') AND first_hour < fromUnixTimestamp64Milli({seal_end_ms:Int64}, 'UTC')) AND hour >= fromUnixTimestamp64Milli({whole_start_ms:Int64}, 'UTC') AND hour < fromUnixTimestamp64Milli({whole_end_ms:Int64}, 'UTC')
)
HAVING requests > 0
LIMIT {row_limit:UInt32}
-- {"org_id":"default","whole_start_ms":3600000,"whole_end_ms":10800000,"seal_start_ms":3600000,"seal_end_ms":10800000,"row_limit":10001}
