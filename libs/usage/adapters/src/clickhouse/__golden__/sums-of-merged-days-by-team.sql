-- usage.sums
SELECT toUnixTimestamp(toStartOfDay(at)) * 1000 AS bucket_start_ms, team_id, sum(attempts) AS requests, sum(tokens_in) AS sum_tokens_in, sum(tokens_out) AS sum_tokens_out, sum(cost_usd) AS sum_cost_usd, sum(charge_usd) AS sum_charge_usd, sum(estimated_attempts) AS estimated_requests
FROM (
  SELECT hour AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, attempts, estimated_attempts
  FROM rollup_merged
  WHERE org_id = {org_id:String} AND hour >= toDateTime({merged_start_s:UInt32}, 'UTC') AND hour < toDateTime({merged_end_s:UInt32}, 'UTC') AND run IN ({merge_runs:Array(String)})
UNION ALL
  SELECT day AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, attempts, estimated_attempts
  FROM rollup_merged_day
  WHERE org_id = {org_id:String} AND grain = {grain:String} AND day >= toDateTime({days_start_s:UInt32}, 'UTC') AND day < toDateTime({days_end_s:UInt32}, 'UTC') AND run IN ({merge_runs:Array(String)})
UNION ALL
  SELECT hour AS at, team_id, key_id, user_id, provider, model, tokens_in, tokens_out, cost_usd, charge_usd, attempts, estimated_attempts
  FROM rollup_merged
  WHERE org_id = {org_id:String} AND hour >= toDateTime({rest_start_s:UInt32}, 'UTC') AND hour < toDateTime({rest_end_s:UInt32}, 'UTC') AND run IN ({merge_runs:Array(String)})
)
GROUP BY bucket_start_ms, team_id
HAVING requests > 0
ORDER BY bucket_start_ms NULLS LAST, team_id NULLS LAST
LIMIT {row_limit:UInt32}
-- {"org_id":"default","merge_runs":["run-a","run-b"],"merged_start_s":82800,"merged_end_s":86400,"days_start_s":86400,"days_end_s":172800,"grain":"model","rest_start_s":172800,"rest_end_s":176400,"seal_start_s":82800,"seal_end_s":176400,"row_limit":10001}
