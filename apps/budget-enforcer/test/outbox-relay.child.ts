/** The relay of metering's outbox as a process of its own, which its environment may have killed. */
import { openEventLog } from '#libs/event-log/adapters';
import { processEnvironment } from '#libs/platform/config';
import { Database, OutboxRelay, OutboxWriter } from '#libs/platform/postgres';
import { createRuntime } from '#libs/platform/telemetry';

const { DATABASE_URL, KAFKA_BROKERS } = processEnvironment();
const runtime = createRuntime({ service: 'metering', partitions: 1, logLevel: 'silent' });
const database = new Database({
  url: DATABASE_URL!,
  schema: 'metering',
  applicationName: 'relay',
  onIdleError: () => undefined,
});
const eventLog = openEventLog({
  service: 'metering',
  runtime,
  database,
  kafka: { kafkaBrokers: KAFKA_BROKERS ? KAFKA_BROKERS.split(',') : null },
});
const { random, logger } = runtime;
new OutboxRelay({
  database,
  service: 'metering',
  writer: new OutboxWriter(),
  append: (records) => eventLog.append(records),
  random,
  logger,
  pollMs: 20,
}).start();
process.stdout.write('relay listening on the outbox\n');
