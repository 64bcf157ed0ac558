// What the proxy does for readers that missed its records: a real spool, a real event log, a real proxy.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import {
  EMITTER_LOST_V1,
  EMITTER_RESEND_V1,
  EVENT_KIND,
  eventIdOf,
  TOPICS,
  type EmitterRangeV1,
} from '#libs/events';
import {
  formatUuid,
  SystemClock,
  SystemRandom,
  UuidV7Generator,
  type RequestId,
} from '#libs/kernel';
import type { SpoolEvent } from '#libs/spool/core';
import { eventually } from '#libs/testing';

import { KEYS, ProxyFixture, sendJson, type LoggedEvent } from './proxy-fixture.js';

let proxy: ProxyFixture;

beforeAll(async () => {
  proxy = await ProxyFixture.start();
});
afterAll(() => proxy.stop());

const sequenceOf = ({ headers }: LoggedEvent): number => Number(headers['ce_sequence']);

/** What the log has of the plain key's lane, in order of the log. */
async function laneEvents(): Promise<LoggedEvent[]> {
  const events = await proxy.logged(TOPICS.requestCompleted);
  return events.filter(({ headers }) => headers['ce_lane'] === String(lane()));
}

function lane(): number {
  return Number.parseInt(KEYS['sk-plain-key']!.keyId.slice(0, 8), 16) % 3;
}

async function ask(range: Partial<EmitterRangeV1>): Promise<void> {
  const whole = { emitter_id: proxy.spool.emitterId, lane: lane(), ...range };
  await proxy.tell(EMITTER_RESEND_V1, whole, TOPICS.emitterResend);
}

async function publishSome(count: number): Promise<number> {
  for (let index = 0; index < count; index += 1) {
    expect((await proxy.chat('sk-plain-key', {})).status).toBe(200);
  }
  return untilPublished();
}

async function untilPublished(): Promise<number> {
  await eventually(() => proxy.spool.depth().unpublishedEvents === 0);
  return Math.max(...(await laneEvents()).map(sequenceOf));
}

test('records asked for again come once more, unchanged and marked, and new ones go on in order', async () => {
  const last = await publishSome(4);
  const before = await laneEvents();
  await ask({ from_seq: String(last - 2), to_seq: String(last - 1) });
  await eventually(async () => (await laneEvents()).length === before.length + 2);
  const again = (await laneEvents()).slice(before.length);
  expect(again.map(sequenceOf)).toEqual([last - 2, last - 1]);
  for (const event of again) {
    expect(event.headers['resend']).toBe('1');
    const first = before.find((known) => sequenceOf(known) === sequenceOf(event))!;
    expect(first.headers['resend']).toBeUndefined();
    expect(event.data).toEqual(first.data);
    expect(event.headers['ce_id']).toBe(first.headers['ce_id']);
  }
  await publishSome(1);
  expect(sequenceOf((await laneEvents()).at(-1)!)).toBe(last + 1);
});

test('a request about another emitter, a faulty one and one beyond the end are answered with nothing', async () => {
  const last = await publishSome(1);
  const before = (await laneEvents()).length;
  await ask({ emitter_id: 'f'.repeat(32), from_seq: '1', to_seq: '2' });
  await ask({ from_seq: '2', to_seq: '1' });
  await ask({ lane: 99, from_seq: '1', to_seq: '2' });
  await ask({ from_seq: 'x', to_seq: '2' });
  await ask({ from_seq: String(last + 1), to_seq: String(last + 500) });
  await ask({ from_seq: String(last), to_seq: String(last + 500) });
  await eventually(async () => (await laneEvents()).length > before);
  const after = (await laneEvents()).slice(before);
  expect(after.map((event) => [event.headers['ce_type'], sequenceOf(event)])).toEqual([
    ['request.completed.v1', last],
  ]);
});

test('records that were trimmed are said to be lost, once, in a record of the same lane', async () => {
  const last = await publishSome(1);
  await proxy.stopProxy();
  await proxy.startProxy({ keepAckedBytes: 1 });
  const ids = (await laneEvents()).map(({ headers }) => headers['ce_id']!);
  await eventually(async () => (await proxy.spool.knownEvents(ids)).size === 0);
  await ask({ from_seq: '1', to_seq: String(last) });
  const lost = await eventually(async () => {
    const events = await laneEvents();
    return events.find(({ headers }) => headers['ce_type'] === EMITTER_LOST_V1) ?? false;
  });
  expect(sequenceOf(lost)).toBe(last + 1);
  const emitterId = proxy.spool.emitterId;
  const range = { emitter_id: emitterId, lane: lane(), from_seq: '1', to_seq: String(last) };
  expect(lost.data).toEqual(range);
  await ask({ from_seq: '1', to_seq: String(last) });
  await ask({ from_seq: String(last + 1), to_seq: String(last + 1) });
  await publishSome(1);
  // That record comes again, since it was asked for, or is said to be lost, when it is trimmed by now;
  // questions are answered in turn, so that then the one before has been dealt with.
  await eventually(async () => {
    const events = await laneEvents();
    return events.some(
      ({ headers, data }) =>
        headers['ce_type'] === EMITTER_LOST_V1 &&
        (headers['resend'] !== undefined ||
          ('from_seq' in data && data.from_seq === String(last + 1))),
    );
  });
  const said = (await laneEvents()).filter(
    ({ headers }) => headers['ce_type'] === EMITTER_LOST_V1 && headers['resend'] === undefined,
  );
  expect(said.filter(({ data }) => 'from_seq' in data && data.from_seq === '1')).toHaveLength(1);
  await proxy.stopProxy();
  await proxy.startProxy();
});

test('a start gives back what was never sent, and no hold whose record was kept no longer', async () => {
  const { budget } = proxy;
  const before = budget.released.length;
  expect((await proxy.chat('sk-budgeted-key', {})).status).toBe(200);
  const [sent] = budget.calls.at(-1)!;
  expect(budget.held.has(sent!.holdId)).toBe(true);
  await untilPublished();
  await proxy.stopProxy();
  await proxy.startProxy({ keepAckedBytes: 1 });
  const id = eventIdOf(sent!.holdId.slice(0, 36) as RequestId, 1, EVENT_KIND.completed);
  await eventually(async () => (await proxy.spool.knownEvents([id])).size === 0);
  await proxy.stopProxy();
  const orphan = `${new UuidV7Generator(new SystemClock(), new SystemRandom()).next()}.1`;
  budget.held.set(orphan, 1n);
  await proxy.startProxy();
  // What was charged for the one that was sent is not settled yet: its money must not be spent again.
  expect(budget.released.slice(before)).toEqual([orphan]);
  expect(budget.held.has(sent!.holdId)).toBe(true);
  budget.held.clear();
  budget.calls.length = 0;
});

function looseEvent(name: string): SpoolEvent {
  const headers = { ce_type: 'test.made.v1', ce_time: '2026-01-01T00:00:00.000Z' };
  return {
    lane: lane(),
    eventId: formatUuid(Buffer.alloc(16, name)),
    body: Buffer.from(JSON.stringify({ name, padding: name.repeat(600) })),
    headers: { ...headers, ce_subject: KEYS['sk-plain-key']!.keyId },
    closes: null,
  };
}

test('a damaged record is reported lost at the start, and its neighbours are published', async () => {
  const last = await publishSome(1);
  const { emitterId } = proxy.spool;
  await proxy.stopProxy();
  await proxy.withSpool(async (spool) => {
    for (const name of ['p', 'q', 'r']) await spool.append(looseEvent(name));
  });
  const path = join(proxy.directory, 'spool.db');
  const bytes = readFileSync(path);
  const at = bytes.indexOf('q'.repeat(100));
  bytes[at] = bytes[at]! ^ 4;
  writeFileSync(path, bytes);
  await proxy.startProxy();
  expect(proxy.spool.emitterId).toBe(emitterId);
  await untilPublished();
  const found = (await laneEvents()).filter((event) => sequenceOf(event) > last);
  expect(found.map((event) => [sequenceOf(event), event.headers['ce_type']])).toEqual([
    [last + 1, 'test.made.v1'],
    [last + 3, 'test.made.v1'],
    [last + 4, EMITTER_LOST_V1],
  ]);
  const gone = String(last + 2);
  expect(found[2]!.data).toMatchObject({ emitter_id: emitterId, from_seq: gone, to_seq: gone });
  expect(readdirSync(proxy.directory).some((name) => name.startsWith('spool.bad-'))).toBe(true);
});

test('a key whose records would not fit an event is refused before any money is held', async () => {
  const sent = proxy.upstream.seen.length;
  const response = await proxy.chat('sk-wide-key', {});
  expect(response.status).toBe(413);
  expect(await response.json()).toMatchObject({ error: { code: 'record_too_large' } });
  expect(proxy.budget.calls).toHaveLength(0);
  expect(proxy.upstream.seen).toHaveLength(sent);
});

test('a plain answer without usage is charged by estimate, labelled, and never above its hold', async () => {
  const before = (await laneEvents()).length;
  proxy.upstream.answer = (res) => {
    const message = { role: 'assistant', content: 'abcdefgh' };
    const choices = [{ index: 0, message, finish_reason: 'stop' }];
    sendJson(res, 200, { id: 'c1', object: 'chat.completion', model: 'served-1', choices });
  };
  expect((await proxy.chat('sk-plain-key', {})).status).toBe(200);
  await eventually(async () => (await laneEvents()).length > before);
  const { data } = (await laneEvents()).at(-1)!;
  expect(data).toMatchObject({
    provenance: 'estimated_partial',
    usage: { input_text: 100, output_text: 2 },
    flags: ['usage_missing', 'estimator_chars4'],
  });
  expect(BigInt(data.cost_pusd)).toBeLessThanOrEqual(BigInt(data.hold_pusd));
});
