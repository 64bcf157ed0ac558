import { connect } from 'node:net';

import { Kafka, logLevel } from 'kafkajs';
import { Client } from 'pg';

import { KafkaEventLog } from '#libs/event-log/adapters';
import type { LogRecord, LogRecordInput } from '#libs/event-log/core';
import { SystemClock, SystemRandom } from '#libs/kernel';

import type { Installation } from './installation.js';

/** Runs one statement as the superuser of the database. @returns how many rows it touched */
export async function sql(installation: Installation, statement: string): Promise<number> {
  const client = new Client({ connectionString: installation.cluster.engines.postgres.directUrl });
  await client.connect();
  try {
    return (await client.query(statement)).rowCount ?? 0;
  } finally {
    await client.end();
  }
}

/** Where metering reads on in a partition; 0 when it has read nothing. */
export async function positionOf(
  installation: Installation,
  topic: string,
  partition: number,
): Promise<bigint> {
  const client = new Client({ connectionString: installation.cluster.engines.postgres.directUrl });
  await client.connect();
  try {
    const { rows } = await client.query<{ next: string }>(
      'SELECT next_offset::text AS next FROM metering.log_position WHERE topic = $1 AND partition = $2',
      [topic, partition],
    );
    return BigInt(rows[0]?.next ?? 0);
  } finally {
    await client.end();
  }
}

/** Holds locks that a statement takes until the work is done. */
export async function whileLocked(
  installation: Installation,
  statement: string,
  work: () => Promise<void>,
): Promise<void> {
  const client = new Client({ connectionString: installation.cluster.engines.postgres.directUrl });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query(statement);
    await work();
    await client.query('ROLLBACK');
  } finally {
    await client.end();
  }
}

/** Runs one statement on ClickHouse past every fault. @throws Error with its answer */
export async function clickhouse(installation: Installation, statement: string): Promise<string> {
  const { directUrl } = installation.cluster.engines.clickhouse;
  const response = await fetch(`${directUrl}?database=tollgate`, {
    method: 'POST',
    body: statement,
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text.slice(0, 300));
  return text;
}

/** Sends Redis one command and waits for its first line. */
export function redis(installation: Installation, command: string): Promise<string> {
  const { hostname, port } = new URL(installation.cluster.engines.redis.url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(`${command}\r\n`));
    socket.once('error', reject);
    socket.once('data', (answer) => {
      socket.destroy();
      resolve(answer.toString().trim());
    });
  });
}

/** Reads and writes records of the log beside the product. */
export async function withLog<T>(
  installation: Installation,
  work: (log: KafkaEventLog) => Promise<T>,
): Promise<T> {
  const log = new KafkaEventLog({
    brokers: [...installation.cluster.engines.kafka.addresses],
    clientId: 'chaos',
    clock: new SystemClock(),
    random: new SystemRandom(),
  });
  try {
    return await work(log);
  } finally {
    await log.close();
  }
}

/** Has the broker drop the records of a partition below an offset, as retention does. */
export async function dropBelow(
  installation: Installation,
  topic: string,
  partition: number,
  offset: bigint,
): Promise<void> {
  const { addresses } = installation.cluster.engines.kafka;
  const admin = new Kafka({ brokers: [...addresses], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    // The client asks for the leaders only of topics that it has met.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] });
  } finally {
    await admin.disconnect();
  }
}

/** The newest records of a partition, oldest first. */
export async function newest(
  log: KafkaEventLog,
  topic: string,
  partition: number,
  count: number,
): Promise<readonly LogRecord[]> {
  const { earliest, next } = await log.bounds(topic, partition);
  const wanted = next - BigInt(count);
  const from = wanted > earliest ? wanted : earliest;
  if (from >= next) return [];
  return log.read(topic, partition, from, { maxRecords: count, maxBytes: 1024 * 1024 });
}

/** What is appended to make the same record once more. */
export function copyOf({ topic, partition, key, headers, value }: LogRecord): LogRecordInput {
  return { topic, partition, key, headers, value };
}
