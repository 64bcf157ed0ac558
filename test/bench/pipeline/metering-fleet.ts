import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { KafkaEventLog, productTopics, provisionKafkaTopics } from '#libs/event-log/adapters';
import { SystemClock, SystemRandom } from '#libs/kernel';
import { projectRoot } from '#libs/platform/config';
import type { Database } from '#libs/platform/postgres';
import { encodeRpc } from '#libs/platform/rpc';
import {
  ClusterProcess,
  startTestClickHouse,
  startTestKafka,
  startTestPostgres,
  watchOver,
  type TestClickHouse,
  type TestKafka,
  type TestPostgres,
} from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { KafkaTopic } from '../../sink-worker/kafka-topic.js';
import { LedgerCheck } from '../../sink-worker/ledger-check.js';
import { PRICES, UsageRecords } from '../../sink-worker/usage-records.js';
import { cpuTimeUs } from '../cpu-time.js';

/** `LOG_PARTITIONS` of a deployment. */
export const PARTITIONS = 12;
/** Database that the product keeps its ledger in. */
const LEDGER = 'tollgate';
/** Records of one append. */
const APPEND_RECORDS = 1_000;

/** How a fleet is laid out. */
export interface FleetOptions {
  /** Keys that take turns within each partition. @default 80, about 1,000 in all */
  readonly keysPerPartition?: number;
  /** Lets Kafka compile its hot code fully, at the price of a slower start. @default false */
  readonly isFast?: boolean;
  /** Where members leave CPU profiles; null = they make none. @default null */
  readonly profileDir?: string | null;
}

/**
 * Metering processes as a deployment has them, over real Kafka, PostgreSQL and the ClickHouse stand-in.
 * The log keeps its records; PostgreSQL and the ledger can be renewed, so that the same backlog is
 * consumed again.
 */
export class MeteringFleet {
  private readonly members = new Map<string, ClusterProcess>();
  private readonly clock = new SystemClock();
  private readonly records: UsageRecords;
  private readonly eventLog: KafkaEventLog;
  private readonly secret = randomBytes(24).toString('hex');
  private postgres: TestPostgres | undefined;
  private database: Database | undefined;
  /** Bytes of the record values appended so far. */
  appendedBytes = 0;
  appendedRecords = 0;

  private constructor(
    private readonly options: FleetOptions,
    private readonly folder: string,
    private readonly kafka: TestKafka,
    readonly clickhouse: TestClickHouse,
    private readonly callOff: () => void,
  ) {
    const { keysPerPartition = 80 } = options;
    this.records = new UsageRecords({
      partitions: PARTITIONS,
      keysPerPartition,
      clock: this.clock,
    });
    this.eventLog = new KafkaEventLog({
      brokers: kafka.addresses,
      clientId: 'bench',
      clock: this.clock,
      random: new SystemRandom(),
      topics: productTopics(PARTITIONS),
    });
  }

  /** Starts the engines; members are started one by one. */
  static async start(options: FleetOptions = {}): Promise<MeteringFleet> {
    const folder = mkdtempSync(join(tmpdir(), 'tollgate-test-fleet-'));
    const callOff = watchOver(folder);
    const [kafka, clickhouse] = await Promise.all([
      startTestKafka({ brokers: 1, isOwn: true, isFast: options.isFast === true }),
      startTestClickHouse({ isOwn: true }),
    ]);
    const fleet = new MeteringFleet(options, folder, kafka, clickhouse, callOff);
    await provisionKafkaTopics(
      { brokers: kafka.addresses, clientId: 'bench' },
      productTopics(PARTITIONS),
    );
    await fleet.renew();
    return fleet;
  }

  get brokers(): readonly string[] {
    return this.kafka.addresses;
  }

  /** Ends the members; PostgreSQL and the ledger are empty again, so all of the log is to be consumed. */
  async renew(): Promise<void> {
    await this.endMembers();
    const before = this.postgres;
    this.postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
    await before?.stop();
    await this.ask(`DROP DATABASE IF EXISTS ${LEDGER} SYNC`);
    const database = this.postgres.database('metering');
    this.database = database;
    for (const price of PRICES) {
      await database.query('INSERT INTO price_entry (price_id, body) VALUES ($1, $2)', [
        price.priceId,
        encodeRpc(price),
      ]);
    }
  }

  /** Appends records to every partition in turn. */
  async append(perPartition: number): Promise<void> {
    for (let done = 0; done < perPartition; done += APPEND_RECORDS) {
      const count = Math.min(APPEND_RECORDS, perPartition - done);
      for (let partition = 0; partition < PARTITIONS; partition += 1) {
        const records = this.records.next(partition, count);
        await this.eventLog.append(records);
        this.appendedRecords += records.length;
        for (const { value } of records) this.appendedBytes += value.length;
      }
    }
  }

  /** A member by name, made on first use. */
  member(name: string): ClusterProcess {
    let member = this.members.get(name);
    if (member === undefined) {
      member = new ClusterProcess({
        name,
        entry: join(projectRoot(), 'dist', 'apps', 'metering', 'src', 'main.js'),
        directory: this.folder,
        ready: /^metering listening on /m,
        env: {},
      });
      this.members.set(name, member);
    }
    return member;
  }

  /** What a member is started with. */
  environment(): Readonly<Record<string, string>> {
    const { profileDir = null } = this.options;
    const flags = '--disable-warning=TimeoutNegativeWarning';
    const profile = profileDir === null ? '' : ` --cpu-prof --cpu-prof-dir=${profileDir}`;
    return {
      NODE_OPTIONS: `${flags}${profile}`,
      PORT: '0',
      LOG_LEVEL: 'warn',
      SERVICE_SECRET: this.secret,
      LOG_PARTITIONS: String(PARTITIONS),
      KAFKA_BROKERS: this.brokers.join(','),
      KAFKA_SESSION_MS: '2000',
      DATABASE_URL: this.postgres!.url,
      CLICKHOUSE_URL: this.clickhouse.url,
    };
  }

  /** Starts members side by side. */
  async startMembers(names: readonly string[]): Promise<void> {
    await Promise.all(names.map((name) => this.member(name).start(this.environment())));
  }

  async endMembers(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await Promise.all([...this.members.values()].map((member) => member.end(signal)));
  }

  /** User and system time of members so far, microseconds. */
  cpuUs(names: readonly string[]): number {
    return cpuTimeUs(
      names.map((name) => Number(readFileSync(join(this.folder, `${name}.pid`), 'utf8'))),
    );
  }

  /** User and system time of ClickHouse so far, microseconds. */
  clickhouseCpuUs(): number {
    return cpuTimeUs([this.clickhouse.process!.pid]);
  }

  /** Records of the log that are committed. */
  async committed(): Promise<number> {
    const { rows } = await this.database!.query<{ total: string }>(
      `SELECT coalesce(sum(next_offset), 0)::text AS total FROM metering.log_position
        WHERE topic = 'request.completed'`,
    );
    return Number(rows[0]!.total);
  }

  /** Runs a statement on ClickHouse; numbers of 64 bit come as text. */
  async ask(sql: string): Promise<readonly object[]> {
    const settings =
      'output_format_json_quote_64bit_integers=1&output_format_json_quote_decimals=1' +
      '&wait_end_of_query=1&default_format=JSONEachRow&mutations_sync=2';
    const { url } = this.clickhouse;
    const response = await fetch(`${url}/?${settings}`, { method: 'POST', body: sql });
    const text = await response.text();
    if (!response.ok) throw new Error(`ClickHouse: ${text.slice(0, 300)}`);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as object);
  }

  /** A judge of what is in the ledger against all of the topic; the caller closes it. */
  judge(): LedgerCheck {
    const topic = new KafkaTopic(this.brokers);
    const ask = (sql: string): Promise<readonly object[]> => this.ask(sql);
    return new LedgerCheck(this.postgres!.url, topic, ask, `${LEDGER}.raw_usage_v1`);
  }

  async stop(): Promise<void> {
    await this.endMembers();
    await this.eventLog.close();
    await Promise.all([this.kafka.stop(), this.clickhouse.stop(), this.postgres?.stop()]);
    this.callOff();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
