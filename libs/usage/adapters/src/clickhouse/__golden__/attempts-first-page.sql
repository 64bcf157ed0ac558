-- usage.attempts
SELECT event_id, request_id, attempt, is_final, toUnixTimestamp64Milli(occurred_at) AS occurred_at_ms, key_id, team_id, user_id, provider, model, status, tokens_in, tokens_out, cost_usd, charge_usd, price_state, provenance, source, latency_ms
FROM raw_usage_v1
WHERE org_id = {org_id:String} AND occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC') AND batch_id IN (SELECT batch_id FROM batch_seal WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC'))
ORDER BY occurred_at DESC, UUIDToNum(event_id) DESC
LIMIT {row_limit:UInt32}
-- {"org_id":"default","start_ms":1000,"end_ms":2000,"seal_start_s":0,"seal_end_s":2,"row_limit":101}
