-- usage.sums
SELECT sum(attempts) AS requests, sum(tokens_in) AS sum_tokens_in, sum(tokens_out) AS sum_tokens_out, sum(cost_usd) AS sum_cost_usd, sum(charge_usd) AS sum_charge_usd, sum(estimated_attempts) AS estimated_requests
FROM (
  SELECT hour AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, attempts, estimated_attempts
  FROM rollup_merged
  WHERE org_id = {org_id:String} AND hour >= toDateTime({merged_start_s:UInt32}, 'UTC') AND hour < toDateTime({merged_end_s:UInt32}, 'UTC') AND run IN ({merge_runs:Array(String)})
UNION ALL
  SELECT hour AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, attempts, estimated_attempts
  FROM rollup_hour FINAL
  PREWHERE org_id = {org_id:String} AND batch_id IN (SELECT batch_id FROM batch_seal WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC') AND first_hour >= toDateTime({waiting_from_s:UInt32}, 'UTC') AND batch_id NOT IN (SELECT batch_id FROM rollup_merged_batch WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC') AND first_hour >= toDateTime({waiting_from_s:UInt32}, 'UTC') AND run IN ({merge_runs:Array(String)}))) AND hour >= toDateTime({cells_start_s:UInt32}, 'UTC') AND hour < toDateTime({cells_end_s:UInt32}, 'UTC')
)
HAVING requests > 0
LIMIT {row_limit:UInt32}
-- {"org_id":"default","merge_runs":["run-a","run-b"],"merged_start_s":3600,"merged_end_s":10800,"cells_start_s":7200,"cells_end_s":10800,"waiting_from_s":7200,"seal_start_s":3600,"seal_end_s":10800,"row_limit":10001}
