-- usage.merge_state
WITH (SELECT max(version) FROM rollup_run) AS seen
SELECT toString(seen) AS version, toUnixTimestamp(min(first_hour)) AS waiting_from_s,
  count() AS waiting
FROM batch_seal WHERE topic = 'request.completed' AND last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC')
  AND batch_id NOT IN (SELECT batch_id FROM rollup_merged_batch WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC') AND run IN (SELECT run FROM rollup_run WHERE version <= seen GROUP BY run HAVING countIf(kind = 'merged') > 0 AND countIf(kind = 'withdrawn') = 0))
-- {"seal_start_s":3600,"seal_end_s":10800}
