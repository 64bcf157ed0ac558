import { SqlMigration } from '#libs/platform/postgres';

/** Group membership of the event log's readers. Offsets are not here: each reader keeps its own. */
export class CreateLogGroups extends SqlMigration {
  readonly number = 2;
  readonly title = 'create_log_groups';
  readonly sql = `
-- generation grows with every member that joins or goes.
CREATE TABLE log_group (
  group_name text   PRIMARY KEY,
  generation bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- One row per live member. A member lives while its heartbeat is younger than its session and the
-- connection that sends it still holds the advisory lock session_lock: the lock tells at once of a
-- process that died, the heartbeat of one that hangs or is cut off.
CREATE TABLE log_member (
  group_name   text        NOT NULL REFERENCES log_group (group_name),
  member_id    text        COLLATE "C" NOT NULL,
  topics       text[]      NOT NULL,
  session_lock integer     NOT NULL,
  session_ms   integer     NOT NULL CHECK (session_ms > 0),
  heartbeat_at timestamptz NOT NULL,
  PRIMARY KEY (group_name, member_id)
) WITH (fillfactor = 50);

-- Who reads a partition, and since which generation. A member that shall give one up keeps it until
-- it has finished its batch.
CREATE TABLE log_claim (
  group_name   text    NOT NULL,
  partition_id integer NOT NULL REFERENCES log_partition (partition_id),
  member_id    text    COLLATE "C" NOT NULL,
  generation   bigint  NOT NULL,
  PRIMARY KEY (group_name, partition_id),
  FOREIGN KEY (group_name, member_id) REFERENCES log_member ON DELETE CASCADE
);
CREATE INDEX log_claim_member ON log_claim (group_name, member_id);

-- Says that a member lives, gives up partitions, and claims those that fall to it and are free.
-- Every member computes the same assignment: partitions in order, dealt out to the members in order.
-- A row per partition that is claimed by the member or falls to it; claim is the generation of the
-- claim, null while another member still holds the partition.
CREATE FUNCTION heartbeat(p_group text, p_member text, p_topics text[], p_session_lock integer,
                          p_session_ms integer, p_released_topics text[],
                          p_released_partitions integer[])
RETURNS TABLE (topic text, "partition" integer, claim bigint, is_due boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = event_log, pg_temp AS $fn$
#variable_conflict use_column
DECLARE
  v_generation bigint;
  v_dead integer;
  v_is_new boolean;
BEGIN
  INSERT INTO log_group (group_name) VALUES (p_group) ON CONFLICT DO NOTHING;
  SELECT g.generation INTO v_generation FROM log_group g WHERE g.group_name = p_group FOR UPDATE;

  UPDATE log_member m
     SET heartbeat_at = clock_timestamp(), topics = p_topics, session_lock = p_session_lock,
         session_ms = p_session_ms
   WHERE m.group_name = p_group AND m.member_id = p_member;
  v_is_new := NOT FOUND;
  IF v_is_new THEN
    INSERT INTO log_member (group_name, member_id, topics, session_lock, session_ms, heartbeat_at)
    VALUES (p_group, p_member, p_topics, p_session_lock, p_session_ms, clock_timestamp());
  END IF;

  DELETE FROM log_member m
   WHERE m.group_name = p_group
     AND m.member_id <> p_member
     AND (m.heartbeat_at + m.session_ms * interval '1 millisecond' < clock_timestamp()
          OR NOT EXISTS (
            SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
             WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted
               AND l.classid = 1819043188 AND l.objid = m.session_lock::oid AND l.objsubid = 2));
  GET DIAGNOSTICS v_dead = ROW_COUNT;
  IF v_is_new OR v_dead > 0 THEN
    v_generation := v_generation + 1;
    UPDATE log_group g SET generation = v_generation WHERE g.group_name = p_group;
  END IF;

  DELETE FROM log_claim c
   USING log_partition p, unnest(p_released_topics, p_released_partitions) AS r(topic, part)
   WHERE c.group_name = p_group AND c.member_id = p_member AND c.partition_id = p.partition_id
     AND p.topic = r.topic AND p.partition = r.part;

  RETURN QUERY
  WITH dealt AS (
    SELECT p.partition_id, p.topic, p.partition, m.members,
           (row_number() OVER (ORDER BY p.topic, p.partition) - 1) % cardinality(m.members) AS place
      FROM log_partition p
      CROSS JOIN LATERAL (
        SELECT array_agg(m.member_id ORDER BY m.member_id) AS members FROM log_member m
         WHERE m.group_name = p_group AND p.topic = ANY (m.topics)
      ) m
     WHERE m.members IS NOT NULL
  ), due AS (
    SELECT d.* FROM dealt d WHERE d.members[d.place + 1] = p_member
  ), taken AS (
    INSERT INTO log_claim (group_name, partition_id, member_id, generation)
    SELECT p_group, d.partition_id, p_member, v_generation FROM due d
    ON CONFLICT DO NOTHING
    RETURNING partition_id, generation
  ), held AS (
    SELECT c.partition_id, c.generation FROM log_claim c
     WHERE c.group_name = p_group AND c.member_id = p_member
    UNION SELECT t.partition_id, t.generation FROM taken t
  )
  SELECT p.topic, p.partition, h.generation, d.partition_id IS NOT NULL
    FROM held h FULL JOIN due d ON d.partition_id = h.partition_id
    JOIN log_partition p ON p.partition_id = coalesce(h.partition_id, d.partition_id);
END $fn$;

-- Takes a member out of its group together with all it claims.
CREATE FUNCTION leave(p_group text, p_member text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = event_log, pg_temp AS $fn$
BEGIN
  PERFORM 1 FROM log_group g WHERE g.group_name = p_group FOR UPDATE;
  DELETE FROM log_member m WHERE m.group_name = p_group AND m.member_id = p_member;
  IF FOUND THEN
    UPDATE log_group g SET generation = g.generation + 1 WHERE g.group_name = p_group;
  END IF;
END $fn$;

REVOKE ALL ON FUNCTION heartbeat, leave FROM PUBLIC;
GRANT EXECUTE ON FUNCTION heartbeat, leave
  TO tollgate_auth, tollgate_proxy, tollgate_metering, tollgate_budget, tollgate_reporting;
`;
}
