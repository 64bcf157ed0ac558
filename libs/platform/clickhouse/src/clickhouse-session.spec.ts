import type { ClickHouseClient } from '@clickhouse/client';
import { expect, test } from '@jest/globals';

import { ClickHouseSession, type SessionConnector } from './clickhouse-session.js';
import { settingsFor } from './clickhouse-settings.js';

/** A client that records what it was asked and answers when told. */
class ClientOfTest {
  readonly asked: { readonly query: string; readonly settings: object | undefined }[] = [];
  readonly answers: (() => void)[] = [];
  isClosed = false;

  command(params: { query: string; clickhouse_settings?: object }): Promise<void> {
    this.asked.push({ query: params.query, settings: params.clickhouse_settings });
    return new Promise((resolve) => {
      this.answers.push(resolve);
    });
  }
  async insert(params: { table: string; clickhouse_settings?: object }): Promise<void> {
    this.asked.push({ query: params.table, settings: params.clickhouse_settings });
  }
  async close(): Promise<void> {
    this.isClosed = true;
  }
}

type Connector = Pick<SessionConnector, 'serial' | 'settingsStay' | 'clock'>;

function sessionOf(client: ClientOfTest, connector: Connector) {
  return new ClickHouseSession({
    connect: async () => client as unknown as ClickHouseClient,
    settings: settingsFor('write'),
    ...connector,
  });
}

const server = { serial: true, settingsStay: false };
const turn = () => new Promise((resolve) => setImmediate(resolve));

test('calls of a serial session run one after the other, in the order they were made', async () => {
  const client = new ClientOfTest();
  const session = sessionOf(client, server);
  const both = [session.run({ name: 'a', sql: 'A' }), session.run({ name: 'b', sql: 'B' })];
  await turn();
  expect(client.asked.map((one) => one.query)).toEqual(['A']);
  client.answers[0]!();
  await turn();
  expect(client.asked.map((one) => one.query)).toEqual(['A', 'B']);
  client.answers[1]!();
  await Promise.all(both);
});

test('calls of a parallel session do not wait for each other', async () => {
  const client = new ClientOfTest();
  const session = sessionOf(client, { serial: false, settingsStay: false });
  const both = [session.run({ name: 'a', sql: 'A' }), session.run({ name: 'b', sql: 'B' })];
  await turn();
  expect(client.asked).toHaveLength(2);
  for (const answer of client.answers) answer();
  await Promise.all(both);
});

test('every call carries the complete settings, an insert its own token, none readonly', async () => {
  const client = new ClientOfTest();
  const session = sessionOf(client, server);
  await session.insert({ name: 'i', table: 't', token: 'abc', rows: [{}] });
  const complete = settingsFor('write');
  expect(client.asked).toEqual([
    { query: 't', settings: { ...complete, insert_deduplication_token: 'abc' } },
  ]);
  expect(Object.keys(complete)).not.toContain('readonly');
  expect(Object.keys(settingsFor('read'))).toEqual(Object.keys(complete));
});

test('where settings stay, an insert sends them ahead in a call of their own', async () => {
  const client = new ClientOfTest();
  const session = sessionOf(client, { serial: true, settingsStay: true });
  const done = session.insert({ name: 'i', table: 't', token: 'abc', rows: [{}] });
  await turn();
  client.answers[0]!();
  await done;
  expect(client.asked).toEqual([
    {
      query: 'SELECT 1',
      settings: { ...settingsFor('write'), insert_deduplication_token: 'abc' },
    },
    { query: 't', settings: undefined },
  ]);
});

test('a connection that failed is tried again by the next call', async () => {
  const client = new ClientOfTest();
  let attempts = 0;
  const session = new ClickHouseSession({
    connect: async () => {
      attempts += 1;
      if (attempts === 1) throw new Error('refused');
      return client as unknown as ClickHouseClient;
    },
    settings: settingsFor('write'),
    ...server,
  });
  const insert = { name: 'i', table: 't', token: 'abc', rows: [{}] };
  await expect(session.insert(insert)).rejects.toMatchObject({ code: 'clickhouse.failed' });
  await session.insert(insert);
  expect(attempts).toBe(2);
});

test('closing waits for the call under way and refuses the next', async () => {
  const client = new ClientOfTest();
  const session = sessionOf(client, server);
  const call = session.run({ name: 'a', sql: 'A' });
  await turn();
  const closing = session.close();
  await expect(session.run({ name: 'b', sql: 'B' })).rejects.toMatchObject({
    code: 'clickhouse.closed',
  });
  expect(client.isClosed).toBe(false);
  client.answers[0]!();
  await call;
  await closing;
  expect(client.isClosed).toBe(true);
});

test('calls beyond the bound of a session are refused at once', async () => {
  const client = new ClientOfTest();
  const session = sessionOf(client, server);
  const waiting = Array.from({ length: 1000 }, () => session.run({ name: 'a', sql: 'A' }));
  await expect(session.run({ name: 'b', sql: 'B' })).rejects.toMatchObject({
    code: 'clickhouse.busy',
    retryable: true,
  });
  while (client.answers.length < 1000) {
    for (const answer of client.answers) answer();
    await turn();
  }
  for (const answer of client.answers) answer();
  await Promise.all(waiting);
});

test('an insert without a token or with too many rows is refused', async () => {
  const session = sessionOf(new ClientOfTest(), server);
  const insert = { name: 'i', table: 't', token: 'abc', rows: [{}] };
  const tooMany = Array.from({ length: 50_001 }, () => ({}));
  for (const faulty of [
    { ...insert, token: '' },
    { ...insert, rows: tooMany },
  ]) {
    await expect(session.insert(faulty)).rejects.toMatchObject({ code: 'internal.assertion' });
  }
});

test('an insert whose turn comes minutes late, as after a freeze, is not sent', async () => {
  const client = new ClientOfTest();
  let nowMs = 0;
  const session = sessionOf(client, { ...server, clock: { monotonicMs: () => nowMs } });
  const before = session.run({ name: 'a', sql: 'A' });
  const insert = session.insert({ name: 'i', table: 't', token: 'x', rows: [{ a: 1 }] });
  await turn();
  nowMs = 120_001;
  client.answers[0]!();
  await before;
  await expect(insert).rejects.toMatchObject({ code: 'clickhouse.busy', retryable: true });
  await session.insert({ name: 'i', table: 't', token: 'x', rows: [{ a: 1 }] });
  expect(client.asked.map((one) => one.query)).toEqual(['A', 't']);
});

test('a removal whose turn comes seconds late, as after a freeze, is not sent', async () => {
  const client = new ClientOfTest();
  let nowMs = 0;
  const session = sessionOf(client, { ...server, clock: { monotonicMs: () => nowMs } });
  const before = session.run({ name: 'a', sql: 'A' });
  const removal = session.remove({ name: 'd', sql: 'DELETE' });
  await turn();
  nowMs = 5_001;
  client.answers[0]!();
  await before;
  await expect(removal).rejects.toMatchObject({ code: 'clickhouse.busy', retryable: true });
  expect(client.asked.map((one) => one.query)).toEqual(['A']);
});
