import { CompressionAlgorithms, ProduceAcks, Producer } from '@platformatic/kafka';
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
  eventually,
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
      // A process of tests that stands still for a moment stays a member.
      sessionMs: 60_000,
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

  /** Appends a record in a form that brokers keep and our reader does not know. */
  async appendUnreadable(topic: string, partition: number): Promise<void> {
    const producer = new Producer({
      clientId: 'somebody',
      bootstrapBrokers: [...this.kafka.addresses],
      compression: CompressionAlgorithms.ZSTD,
    });
    try {
      const message = { topic, partition, key: Buffer.from('key'), value: Buffer.from('value') };
      await producer.send({ acks: ProduceAcks.ALL, messages: [message] });
    } finally {
      await producer.close();
    }
  }

  /** A topic as somebody else makes it. */
  async makeTopic(topic: string, settings: Readonly<Record<string, string>>): Promise<void> {
    const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }));
    await this.admin.createTopics({
      waitForLeaders: true,
      topics: [{ topic, numPartitions: 1, replicationFactor: 1, configEntries }],
    });
  }

  /** How a topic is set at the brokers, with its number of `partitions` and `replicas`. */
  async settingsOf(topic: string): Promise<Readonly<Record<string, string>>> {
    const { topics } = await this.admin.fetchTopicMetadata({ topics: [topic] });
    const { resources } = await this.admin.describeConfigs({
      includeSynonyms: false,
      // The protocol's number of a topic.
      resources: [{ type: 2, name: topic }],
    });
    const entries = resources[0]!.configEntries.map((one) => [one.configName, one.configValue]);
    const { partitions } = topics[0]!;
    return {
      ...(Object.fromEntries(entries) as Record<string, string>),
      partitions: String(partitions.length),
      replicas: String(partitions[0]!.replicas.length),
    };
  }

  /** What the group stored with the broker, for displays. */
  async shownOffset(groupId: string, topic: string, partition: number): Promise<string> {
    // The coordinator of a new broker takes a moment to come up.
    const fetched = await eventually(() => this.admin.fetchOffsets({ groupId, topics: [topic] }));
    const [found] = fetched;
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
