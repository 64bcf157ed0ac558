import { Kafka, logLevel, type Admin } from 'kafkajs';
import type { ConsumerStore, EventLogHarness } from '#libs/event-log/contract';
import type { EventLog } from '#libs/event-log/core';
import {
  KafkaEventLog,
  provisionKafkaTopics,
  type KafkaEventLogOptions,
} from '#libs/event-log/adapters';
import { SystemClock, SystemRandom } from '#libs/kernel';
import {
  startTestKafka,
  startTestPostgres,
  type TestKafka,
  type TestKafkaOptions,
  type TestPostgres,
} from '#libs/testing';
import { consumerStore, CreateConsumer } from './consumer-store.js';

/** The event log on Kafka, and a consumer in schema `metering` of PostgreSQL. */
export class KafkaHarness implements EventLogHarness {
  readonly store: ConsumerStore;
  private readonly logs: EventLog[] = [];
  private readonly admin: Admin;
  private readonly run = Buffer.from(new SystemRandom().bytes(4)).toString('hex');
  private topics = 0;

  private constructor(
    readonly kafka: TestKafka,
    private readonly postgres: TestPostgres,
  ) {
    this.store = consumerStore(postgres.database('metering'));
    const brokers = [...kafka.addresses];
    this.admin = new Kafka({ brokers, clientId: 'test', logLevel: logLevel.NOTHING }).admin();
  }

  static async start(options: TestKafkaOptions = { brokers: 1 }): Promise<KafkaHarness> {
    const [kafka, postgres] = await Promise.all([
      startTestKafka(options),
      startTestPostgres({ migrations: { metering: [CreateConsumer] } }),
    ]);
    const harness = new KafkaHarness(kafka, postgres);
    await harness.admin.connect();
    return harness;
  }

  async createTopic(partitions: number): Promise<string> {
    this.topics += 1;
    const topic = `topic-${this.run}-${this.topics}`;
    await this.provision({ [topic]: partitions });
    return topic;
  }

  provision(topics: Readonly<Record<string, number>>): Promise<void> {
    return provisionKafkaTopics({ brokers: this.kafka.addresses, clientId: 'test' }, topics);
  }

  async open(changes: Partial<KafkaEventLogOptions> = {}): Promise<EventLog> {
    const log = new KafkaEventLog({
      brokers: this.kafka.addresses,
      clientId: 'test',
      clock: new SystemClock(),
      random: new SystemRandom(),
      heartbeatMs: 100,
      ...changes,
    });
    this.logs.push(log);
    return log;
  }

  async dropBelow(topic: string, partition: number, offset: bigint): Promise<void> {
    const partitions = [{ partition, offset: String(offset) }];
    // The client asks for the leaders only of topics that it has met.
    await this.admin.fetchTopicOffsets(topic);
    await this.admin.deleteTopicRecords({ topic, partitions });
  }

  /** What the group stored with the broker, for displays. */
  async shownOffset(groupId: string, topic: string, partition: number): Promise<string> {
    const [found] = await this.admin.fetchOffsets({ groupId, topics: [topic] });
    return found!.partitions.find((one) => one.partition === partition)!.offset;
  }

  /** Ends what a test has opened. */
  async closeLogs(): Promise<void> {
    await Promise.all(this.logs.splice(0).map((log) => log.close()));
  }

  async stop(): Promise<void> {
    await this.closeLogs();
    await this.admin.disconnect();
    await this.kafka.stop();
    await this.postgres.stop();
  }
}
