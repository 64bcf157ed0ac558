-- usage.sums
SELECT sum(attempts) AS requests, sum(tokens_in) AS sum_tokens_in, sum(tokens_out) AS sum_tokens_out, sum(cost_usd) AS sum_cost_usd, sum(charge_usd) AS sum_charge_usd, sum(estimated_attempts) AS estimated_requests
FROM (
  SELECT hour AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, attempts, estimated_attempts
  FROM rollup_hour FINAL
  PREWHERE org_id = {org_id:String} AND batch_id IN (SELECT batch_id FROM batch_seal WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC') AND first_hour >= toDateTime({waiting_from_s:UInt32}, 'UTC')) AND hour >= toDateTime({cells_start_s:UInt32}, 'UTC') AND hour < toDateTime({cells_end_s:UInt32}, 'UTC')
UNION ALL
  SELECT toDateTime(occurred_at, 'UTC') AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, toUInt64(1) AS attempts, toUInt64(provenance != 'measured') AS estimated_attempts
  FROM raw_usage_v1
  WHERE org_id = {org_id:String} AND batch_id IN (SELECT batch_id FROM batch_seal WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC')) AND occurred_at >= fromUnixTimestamp64Milli({head_start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({head_end_ms:Int64}, 'UTC')
UNION ALL
  SELECT toDateTime(occurred_at, 'UTC') AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, toUInt64(1) AS attempts, toUInt64(provenance != 'measured') AS estimated_attempts
  FROM raw_usage_v1
  WHERE org_id = {org_id:String} AND batch_id IN (SELECT batch_id FROM batch_seal WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC')) AND occurred_at >= fromUnixTimestamp64Milli({tail_start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({tail_end_ms:Int64}, 'UTC')
)
HAVING requests > 0
LIMIT {row_limit:UInt32}
-- {"org_id":"default","cells_start_s":3600,"cells_end_s":10800,"waiting_from_s":0,"head_start_ms":1000,"head_end_ms":3600000,"tail_start_ms":10800000,"tail_end_ms":10800001,"seal_start_s":0,"seal_end_s":10801,"row_limit":10001}
