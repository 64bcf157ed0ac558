-- usage.activity
SELECT key_id, count() AS requests,
  toUnixTimestamp64Milli(max(occurred_at)) AS last_used_ms
FROM raw_usage_v1
WHERE org_id = {org_id:String} AND key_id IN {key_ids:Array(String)}
  AND is_final AND status IN ('ok', 'partial')
GROUP BY key_id
ORDER BY key_id
LIMIT 1000
-- {"org_id":"default","key_ids":["a","b"]}
