/**
 * The peer of our consumer: ClickHouse's own Kafka engine, in the embedded engine, from the topic into
 * a table like the ledger's, unrated. Arguments: brokers, topic, consumer group, data directory,
 * records to wait for. It writes blocks of tens of thousands of rows: measured is from its start to
 * the last block that is not held back for more rows. Prints one line of JSON.
 */
import { Session } from 'chdb';

const [brokers = '', topic = '', group = '', dataDir = '', wanted = '0'] = process.argv.slice(2);
/** The count itself costs processor time. */
const POLL_MS = 250;
const SHARE = 0.75;

const EVENT = `event_id UUID, request_id UUID, attempt UInt16, final Bool, org_id String, key_id String,
  team_id Nullable(String), user_id String, provider String, model_requested String, model String,
  model_served Nullable(String), operation String, stream Bool, service_tier_served Nullable(String),
  status String, http_status Nullable(UInt16), provenance String, usage_source String,
  raw_usage Nullable(String), usage Map(String, UInt64), price_id Nullable(String),
  price_version String, price_state String, cost_pusd String, charge_pusd String, hold_pusd String,
  flags Array(String), finish_reason Nullable(String), admitted_at DateTime64(3, 'UTC'),
  occurred_at DateTime64(3, 'UTC'), latency_ms Float64, ttft_ms Nullable(Float64),
  upstream_request_id Nullable(String), source String`;

const session = new Session(dataDir);
const run = async (sql: string): Promise<string> =>
  (await session.queryAsync(sql, { format: 'TabSeparated' })).text();

await run('CREATE DATABASE peer');
await run(
  `CREATE TABLE peer.rows (${EVENT}) ENGINE = MergeTree PARTITION BY toYYYYMM(occurred_at)
   ORDER BY (org_id, key_id, occurred_at, event_id)
   SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
);
await run(
  `CREATE TABLE peer.topic (${EVENT}) ENGINE = Kafka SETTINGS kafka_broker_list = '${brokers}',
   kafka_topic_list = '${topic}', kafka_group_name = '${group}', kafka_format = 'JSONEachRow',
   kafka_num_consumers = 1, input_format_skip_unknown_fields = 1,
   date_time_input_format = 'best_effort'`,
);
const before = process.cpuUsage();
const beganMs = performance.now();
await run('CREATE MATERIALIZED VIEW peer.carry TO peer.rows AS SELECT * FROM peer.topic');
let rows = 0;
while (rows < SHARE * Number(wanted)) {
  await new Promise((resolve) => {
    setTimeout(resolve, POLL_MS);
  });
  rows = Number(await run('SELECT count() FROM peer.rows'));
}
const { user, system } = process.cpuUsage(before);
process.stdout.write(
  `${JSON.stringify({
    rows,
    rowsPerCpuSecond: (rows / (user + system)) * 1e6,
    rowsPerSecond: (rows / (performance.now() - beganMs)) * 1e3,
  })}\n`,
);
process.kill(process.pid, 'SIGKILL');
