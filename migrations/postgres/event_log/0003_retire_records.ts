import { SqlMigration } from '#libs/platform/postgres';

/** Retention of the event log: bounded, never younger than a week, never below what is unread. */
export class RetireRecords extends SqlMigration {
  readonly number = 3;
  readonly title = 'retire_records';
  readonly sql = `
-- Drops the oldest records of a partition: those below p_before (what its consumer has stored as
-- read) that were appended more than p_keep_seconds ago, and never less than 7 days ago; at most
-- p_most in a call. Append times do not go back within a partition, so what goes is a head of it.
-- Returns how many went.
CREATE FUNCTION retire(p_topic text, p_partition integer, p_before bigint, p_keep_seconds integer,
                       p_most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = event_log, pg_temp AS $fn$
DECLARE
  v_partition_id integer;
  v_floor bigint;
  v_count integer;
BEGIN
  IF p_topic IN ('control', 'prices') THEN
    RAISE EXCEPTION 'topic % is kept for ever', p_topic;
  END IF;
  SELECT p.partition_id INTO v_partition_id FROM log_partition p
   WHERE p.topic = p_topic AND p.partition = p_partition;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'unknown topic or partition' USING ERRCODE = 'TL404';
  END IF;
  SELECT max(o."offset") + 1 INTO v_floor FROM (
    SELECT r."offset", r.appended_at FROM log_record r
     WHERE r.partition_id = v_partition_id AND r."offset" < p_before
     ORDER BY r."offset" LIMIT p_most
  ) o WHERE o.appended_at < clock_timestamp() - make_interval(secs => greatest(p_keep_seconds, 604800));
  IF v_floor IS NULL THEN
    RETURN 0;
  END IF;
  UPDATE log_partition p SET earliest_offset = greatest(p.earliest_offset, v_floor)
   WHERE p.partition_id = v_partition_id;
  DELETE FROM log_record r WHERE r.partition_id = v_partition_id AND r."offset" < v_floor;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $fn$;

REVOKE ALL ON FUNCTION retire FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retire TO tollgate_metering, tollgate_budget;
`;
}
