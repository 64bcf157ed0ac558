import 'reflect-metadata';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Controller, Module, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern } from '@nestjs/microservices';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { connectEventLog, EventLogServer } from '#libs/event-log/adapters';
import { EphemeralPartitionOwner, type EventLog, type LogBatch } from '#libs/event-log/core';
import { record, records, until } from '#libs/event-log/contract';
import { AppError } from '#libs/kernel';
import { createRuntime } from '#libs/platform/telemetry';
import { PostgresHarness } from './postgres-harness.js';

/** Two services in one application consume the same topic, each through a server of its own. */
const FIRST = Symbol('first');
const SECOND = Symbol('second');
const seen: { by: string; key: string }[] = [];
const failure = new AppError({ code: 'test.failed', kind: 'internal', publicMessage: 'failed' });
let failuresLeft = 0;
const runtime = createRuntime({ service: 'test', partitions: 2, logLevel: 'silent' });

const owners = {
  first: new EphemeralPartitionOwner('earliest'),
  second: new EphemeralPartitionOwner('earliest'),
};

function take(by: 'first' | 'second', batch: LogBatch): void {
  for (const { key } of batch.records) seen.push({ by, key });
  const next = batch.records.at(-1)!.offset + 1n;
  owners[by].advance(batch.topic, batch.partition, next);
  batch.resolve(next);
}

@Controller()
class FirstConsumer {
  @EventPattern('topic-1', FIRST)
  async onTopic(batch: LogBatch): Promise<void> {
    if (failuresLeft > 0) {
      failuresLeft -= 1;
      throw failure;
    }
    take('first', batch);
  }
}

@Controller()
class SecondConsumer {
  @EventPattern('topic-1', SECOND)
  async onTopic(batch: LogBatch): Promise<void> {
    take('second', batch);
  }

  @EventPattern('topic-2', SECOND)
  async onOther(batch: LogBatch): Promise<void> {
    take('second', batch);
  }
}

@Module({ controllers: [FirstConsumer] })
class FirstModule {}
@Module({ controllers: [SecondConsumer] })
class SecondModule {}
@Module({ imports: [FirstModule, SecondModule] })
class BothModule {}

let harness: PostgresHarness;
let log: EventLog;
let app: INestApplication;
const errors: { by: string; error: unknown }[] = [];

function server(by: 'first' | 'second', transportId: symbol): EventLogServer {
  return new EventLogServer({
    transportId,
    eventLog: log,
    group: by,
    owner: owners[by],
    runtime,
    onError: (error) => errors.push({ by, error }),
  });
}

beforeAll(async () => {
  harness = await PostgresHarness.start();
  log = await harness.open();
  await harness.createTopic(2);
  await harness.createTopic(1);
  app = await NestFactory.create(BothModule, new FastifyAdapter(), { logger: false });
  connectEventLog(app, server('first', FIRST));
  connectEventLog(app, server('second', SECOND));
  await app.startAllMicroservices();
}, 240_000);
afterAll(async () => {
  await app.close();
  await harness.stop();
});

test('each server hands whole batches to its own handlers alone', async () => {
  await log.append([
    ...records('topic-1', 0, 2),
    record('topic-1', 1, 'x'),
    record('topic-2', 0, 'y'),
  ]);
  await until('all records', () => seen.length === 7);
  const keysOf = (by: string) => seen.filter((one) => one.by === by).map(({ key }) => key);
  expect(keysOf('first').toSorted()).toEqual(['key-0', 'key-1', 'key-x']);
  expect(keysOf('second').toSorted()).toEqual(['key-0', 'key-1', 'key-x', 'key-y']);
  expect(errors).toEqual([]);
});

test('what a handler throws reaches the subscription as it is, and the batch comes again', async () => {
  failuresLeft = 1;
  seen.length = 0;
  await log.append([record('topic-1', 0, 'again')]);
  await until('both', () => seen.length === 2);
  expect(errors).toEqual([{ by: 'first', error: failure }]);
});

test('the lag of every partition that a server holds is shown, in records and seconds', async () => {
  const lines = [
    'group="first",topic="topic-1",partition="0"',
    'group="second",topic="topic-1",partition="1"',
    'group="second",topic="topic-2",partition="0"',
  ].flatMap((labels) => [
    `event_log_lag_events{${labels}} 0`,
    `event_log_lag_seconds{${labels}} 0`,
  ]);
  // A batch counts as read when its handler has returned, a moment after what the handler did.
  let text = '';
  await until('no lag', async () => {
    text = await runtime.metrics.metrics();
    return lines.every((line) => text.includes(line));
  });
  for (const line of lines) expect(text).toContain(line);
});
