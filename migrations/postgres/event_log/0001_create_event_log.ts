import { SqlMigration } from '#libs/platform/postgres';

/** Tables of the event log and the functions that are the only way in for the services. */
export class CreateEventLog extends SqlMigration {
  readonly number = 1;
  readonly title = 'create_event_log';
  readonly sql = `
CREATE TABLE log_topic (
  topic      text        PRIMARY KEY,
  partitions integer     NOT NULL CHECK (partitions BETWEEN 1 AND 1024),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row per partition. An append holds its lock until commit, so that offsets become visible in
-- their own order: a sequence would show a later offset before an earlier one.
CREATE TABLE log_partition (
  partition_id     integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  topic            text        NOT NULL REFERENCES log_topic (topic),
  partition        integer     NOT NULL,
  earliest_offset  bigint      NOT NULL DEFAULT 0,
  next_offset      bigint      NOT NULL DEFAULT 0 CHECK (next_offset >= earliest_offset),
  last_appended_at timestamptz NOT NULL DEFAULT '-infinity',
  UNIQUE (topic, partition)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- One row per record. Headers are a JSON object of strings, kept as the text that came.
CREATE TABLE log_record (
  partition_id integer     NOT NULL,
  "offset"     bigint      NOT NULL,
  appended_at  timestamptz NOT NULL,
  key          text        NOT NULL,
  headers      text        NOT NULL,
  value        bytea       NOT NULL,
  PRIMARY KEY (partition_id, "offset")
);
ALTER TABLE log_record ALTER COLUMN value SET STORAGE EXTERNAL;

-- Appends a batch in one call. p_topics/p_partitions name the targets, each once; p_target says for
-- every record which target it goes to (from 1); p_blob holds key, headers and value of every record
-- one after the other, p_lengths their sizes in bytes, three per record. One parameter in place of
-- three arrays: the driver sends a bytea as it is, and an array of them as escaped hexadecimal text.
CREATE FUNCTION append(p_topics text[], p_partitions integer[], p_target integer[],
                       p_lengths integer[], p_blob bytea)
RETURNS TABLE (topic text, "partition" integer, next_offset bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = event_log, pg_temp AS $fn$
#variable_conflict use_column
DECLARE
  v_locked integer;
BEGIN
  -- The lock comes first and in one order for everybody; only then are offsets read.
  PERFORM 1 FROM log_partition p
    JOIN unnest(p_topics, p_partitions) AS t(topic, part) ON p.topic = t.topic AND p.partition = t.part
   ORDER BY p.partition_id FOR UPDATE OF p;
  GET DIAGNOSTICS v_locked = ROW_COUNT;
  IF v_locked <> cardinality(p_topics) THEN
    RAISE EXCEPTION 'unknown topic or partition' USING ERRCODE = 'TL404';
  END IF;

  RETURN QUERY
  WITH sizes AS (
    SELECT i, p_target[i] AS target, p_lengths[3*i-2] AS k, p_lengths[3*i-1] AS h, p_lengths[3*i] AS v
    FROM generate_subscripts(p_target, 1) AS i
  ), parts AS (
    SELECT s.*, sum(k + h + v) OVER (ORDER BY i) - (k + h + v) AS start,
           row_number() OVER (PARTITION BY target ORDER BY i) - 1 AS nth
    FROM sizes s
  ), counts AS (
    SELECT target, count(*) AS n FROM sizes GROUP BY target
  ), targets AS (
    UPDATE log_partition p
       SET next_offset = p.next_offset + c.n,
           last_appended_at = greatest(clock_timestamp(), p.last_appended_at)
      FROM counts c
     WHERE p.topic = p_topics[c.target] AND p.partition = p_partitions[c.target]
    RETURNING p.partition_id, p.topic, p.partition, p.next_offset, p.last_appended_at, c.target, c.n
  ), written AS (
    INSERT INTO log_record (partition_id, "offset", appended_at, key, headers, value)
    SELECT t.partition_id, t.next_offset - t.n + s.nth, t.last_appended_at,
           convert_from(substr(p_blob, s.start::integer + 1, s.k), 'UTF8'),
           convert_from(substr(p_blob, s.start::integer + s.k + 1, s.h), 'UTF8'),
           substr(p_blob, s.start::integer + s.k + s.h + 1, s.v)
    FROM parts s JOIN targets t ON t.target = s.target
    ORDER BY s.i
  )
  SELECT t.topic, t.partition, t.next_offset FROM targets t;
END $fn$;

-- Bounds of a partition; no row when it does not exist.
CREATE FUNCTION bounds(p_topic text, p_partition integer)
RETURNS TABLE (earliest_offset bigint, next_offset bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = event_log, pg_temp AS $fn$
  SELECT p.earliest_offset, p.next_offset FROM log_partition p
   WHERE p.topic = p_topic AND p.partition = p_partition
$fn$;

-- Next offsets of all partitions of some topics: what readers poll.
CREATE FUNCTION tails(p_topics text[])
RETURNS TABLE (topic text, "partition" integer, next_offset bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = event_log, pg_temp AS $fn$
  SELECT p.topic, p.partition, p.next_offset FROM log_partition p WHERE p.topic = ANY (p_topics)
$fn$;

-- How many partitions a topic has; null when it does not exist.
CREATE FUNCTION partitions(p_topic text) RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = event_log, pg_temp AS $fn$
  SELECT t.partitions FROM log_topic t WHERE t.topic = p_topic
$fn$;

-- Records from an offset on, in order: at most p_max_records, and at most p_max_bytes of values
-- unless the first alone is larger.
CREATE FUNCTION read(p_topic text, p_partition integer, p_from bigint, p_max_records integer,
                     p_max_bytes bigint)
RETURNS TABLE ("offset" bigint, appended_at_ms bigint, key text, headers text, value bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = event_log, pg_temp AS $fn$
#variable_conflict use_column
DECLARE
  v_partition log_partition;
  v_bytes bigint := 0;
  v_count integer := 0;
  v_record log_record;
BEGIN
  SELECT * INTO v_partition FROM log_partition p
   WHERE p.topic = p_topic AND p.partition = p_partition;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'unknown topic or partition' USING ERRCODE = 'TL404';
  END IF;
  IF p_from < v_partition.earliest_offset OR p_from > v_partition.next_offset THEN
    RAISE EXCEPTION 'offset % is not within % to %', p_from, v_partition.earliest_offset,
      v_partition.next_offset USING ERRCODE = 'TL416';
  END IF;
  FOR v_record IN
    SELECT * FROM log_record r
     WHERE r.partition_id = v_partition.partition_id AND r."offset" >= p_from
       AND r."offset" < v_partition.next_offset
     ORDER BY r."offset" LIMIT p_max_records
  LOOP
    v_bytes := v_bytes + octet_length(v_record.value);
    EXIT WHEN v_count > 0 AND v_bytes > p_max_bytes;
    v_count := v_count + 1;
    "offset" := v_record."offset";
    appended_at_ms := floor(extract(epoch FROM v_record.appended_at) * 1000)::bigint;
    key := v_record.key;
    headers := v_record.headers;
    value := v_record.value;
    RETURN NEXT;
  END LOOP;
END $fn$;

-- Drops the records below an offset. For retention; no service may call it.
CREATE FUNCTION trim_before(p_topic text, p_partition integer, p_before bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = event_log, pg_temp AS $fn$
DECLARE
  v_partition_id integer;
BEGIN
  UPDATE log_partition p SET earliest_offset = greatest(p.earliest_offset, p_before)
   WHERE p.topic = p_topic AND p.partition = p_partition AND p_before <= p.next_offset
  RETURNING p.partition_id INTO v_partition_id;
  DELETE FROM log_record r WHERE r.partition_id = v_partition_id AND r."offset" < p_before;
END $fn$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA event_log FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append, bounds, tails, partitions, read
  TO tollgate_auth, tollgate_proxy, tollgate_metering, tollgate_budget, tollgate_reporting;
`;
}
