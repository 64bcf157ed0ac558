-- usage.attempts
SELECT event_id, request_id, attempt, is_final, toUnixTimestamp64Milli(occurred_at) AS occurred_at_ms, key_id, team_id, user_id, provider, model, status, tokens_in, tokens_out, cost_usd, charge_usd, price_state, provenance, source, latency_ms
FROM raw_usage_v1
WHERE org_id = {org_id:String} AND key_id IN {key_ids:Array(String)} AND team_id IN {team_ids:Array(String)} AND user_id IN {user_ids:Array(String)} AND model IN {models:Array(String)} AND provider IN {providers:Array(String)} AND occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC') AND batch_id IN (SELECT batch_id FROM batch_seal WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC')) AND (occurred_at < fromUnixTimestamp64Milli({after_ms:Int64}, 'UTC') OR (occurred_at = fromUnixTimestamp64Milli({after_ms:Int64}, 'UTC') AND UUIDToNum(event_id) < UUIDToNum({after_event_id:UUID})))
ORDER BY occurred_at DESC, UUIDToNum(event_id) DESC
LIMIT {row_limit:UInt32}
-- {"org_id":"default","key_ids":["k' OR 1=1 --"],"team_ids":["t"],"user_ids":["u"],"models":["m","n"],"providers":["p"],"start_ms":1000,"end_ms":2000,"seal_start_s":0,"seal_end_s":2,"after_ms":1500,"after_event_id":"00000000-0000-4000-8000-000000000000","row_limit":101}
