-- usage.merge_state
WITH (SELECT (max(version), groupArrayIf(run, kind = 'merged'), groupArrayIf(run, kind = 'withdrawn')) FROM rollup_run) AS decisions,
  arrayFilter(one -> NOT has(decisions.3, one), decisions.2) AS in_force
SELECT toString(decisions.1) AS version, length(in_force) AS run_count,
  if(run_count > 1000, [], in_force) AS runs,
  toUnixTimestamp(min(first_hour)) AS waiting_from_s, count() AS waiting
FROM batch_seal WHERE topic = 'request.completed' AND last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC')
  AND batch_id NOT IN (SELECT batch_id FROM rollup_merged_batch WHERE last_hour >= toDateTime({seal_start_s:UInt32}, 'UTC') AND first_hour < toDateTime({seal_end_s:UInt32}, 'UTC') AND run IN (in_force))
-- {"seal_start_s":3600,"seal_end_s":10800}
