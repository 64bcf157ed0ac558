/* Proxy processes whose disk is full or slow, whose spool is full or taken, or whose writer dies. */
import { existsSync, rmSync, writeSync, openSync, closeSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';

import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';

import { TOPICS, type RequestCompletedV1 } from '#libs/events';
import { eventually, TcpFaultProxy } from '#libs/testing';

import { ProxyWorld, sendUsage, type ProxyProcess } from './proxy-process.js';

let world: ProxyWorld;
/** In front of the event log, where a test needs it. */
let log: TcpFaultProxy | null = null;

beforeAll(async () => {
  world = await ProxyWorld.start();
});
afterAll(async () => {
  await world.stop();
  await log?.close();
});
beforeEach(() => {
  world.upstream.seen.length = 0;
  world.upstream.answer = (res) => sendUsage(res, 10, 5);
});

async function rowOf(response: Response): Promise<RequestCompletedV1> {
  const wireId = response.headers.get('x-request-id')!.slice(4);
  return eventually(async () => {
    const events = await world.logged(TOPICS.requestCompleted);
    const found = events.filter(({ data }) => data.request_id.replaceAll('-', '') === wireId);
    expect(found.length).toBeLessThanOrEqual(1);
    return found[0]?.data ?? false;
  });
}

/** Lets the next request reach the upstream and gives what answers it. */
async function inFlight(send: () => Promise<Response>): Promise<{
  readonly response: Promise<Response>;
  readonly upstream: ServerResponse;
}> {
  let upstream: ServerResponse | null = null;
  world.upstream.answer = (res) => {
    upstream = res;
  };
  const response = send();
  const reached = await eventually(async () => upstream ?? false);
  world.upstream.answer = (res) => sendUsage(res, 10, 5);
  return { response, upstream: reached };
}

test('a second process on the same spool ends with exit code 3, and the first one goes on', async () => {
  const first = await world.startProxy({ spool: 'shared' });
  const second = await world.startProxy({ spool: 'shared', isRefused: true });
  expect(await second.ended).toEqual({ code: 3, signal: null });
  expect(second.log).toContain('spool');
  expect((await first.chat('sk-plain-key')).status).toBe(200);
  first.kill();
});

test('when the writer dies, clients in flight get an error end, nothing is admitted, the process ends with 1', async () => {
  const preload = new URL('./mortal-writer.js', import.meta.url).href;
  const proxy = await world.startProxy({ spool: 'mortal', preload });
  const plain = await inFlight(() => proxy.chat('sk-plain-key'));
  proxy.kill('SIGUSR2');
  await eventually(async () => (await proxy.ready()).body.includes('failed'));
  const refused = await proxy.chat('sk-plain-key');
  expect(refused.status).toBe(503);
  expect(await refused.json()).toMatchObject({ error: { code: 'metering_unavailable' } });
  sendUsage(plain.upstream, 10, 5);
  const answer = await plain.response;
  expect(answer.status).toBe(503);
  expect(await proxy.ended).toEqual({ code: 1, signal: null });
  expect(world.upstream.seen).toHaveLength(1);
  const next = await world.startProxy({ spool: 'mortal' });
  expect(await rowOf(answer)).toMatchObject({ provenance: 'estimated_hold', source: 'recovery' });
  next.kill();
});

test('when the writer dies without a word on an intent, its hold stays until the next start, which charges it', async () => {
  const { budget } = world.services;
  const preload = new URL('./mortal-writer.js', import.meta.url).href;
  const proxy = await world.startProxy({ spool: 'wordless', preload });
  const plain = await inFlight(() => proxy.chat('sk-plain-key'));
  const known = new Set(budget.held.keys());
  proxy.kill('SIGWINCH');
  const refused = await proxy.chat('sk-budgeted-key');
  expect(refused.status).toBe(503);
  expect(await refused.json()).toMatchObject({ error: { code: 'metering_unavailable' } });
  expect((await proxy.ready()).body).toContain('failed');
  sendUsage(plain.upstream, 10, 5);
  expect((await plain.response).status).toBe(503);
  expect(await proxy.ended).toEqual({ code: 1, signal: null });
  expect(world.upstream.seen).toHaveLength(1);

  const held = [...budget.held].filter(([holdId]) => !known.has(holdId));
  expect(held).toHaveLength(1);
  const next = await world.startProxy({ spool: 'wordless' });
  const row = await rowOf(refused);
  expect(row).toMatchObject({ provenance: 'estimated_hold', source: 'recovery' });
  expect(held).toEqual([[`${row.request_id}.1`, BigInt(row.charge_pusd)]]);
  await eventually(async () => (await next.ready()).status === 200);
  expect(budget.held.has(held[0]![0])).toBe(true);
  next.kill();
});

test('a commit of 5 s costs time and readiness, but no request', async () => {
  const variables = { FAILPOINTS: 'spool.commit=delay:5000' };
  const proxy = await world.startProxy({ spool: 'slow', variables });
  const first = proxy.chat('sk-plain-key');
  const unready = await eventually(async () => {
    const answer = await proxy.ready();
    return answer.body.includes('stalled') ? answer : false;
  });
  expect(unready.status).toBe(503);
  const second = proxy.chat('sk-plain-key');
  for (const response of await Promise.all([first, second])) {
    expect(response.status).toBe(200);
    expect(await rowOf(response)).toMatchObject({ provenance: 'measured' });
  }
  proxy.kill();
});

async function metric(proxy: ProxyProcess, name: string): Promise<number> {
  const text = await (await fetch(`${proxy.url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

test('a spool at its cap grows no further, however many calls are refused, and goes on by itself', async () => {
  const url = new URL(world.databaseUrl);
  log = await TcpFaultProxy.open({ targetPort: Number(url.port) });
  url.hostname = '127.0.0.1';
  url.port = String(log.port);
  const variables = { DATABASE_URL: url.href, SPOOL_CAP_BYTES: String(2 ** 20) };
  const proxy = await world.startProxy({ spool: 'capped', variables });
  const flying = await inFlight(() => proxy.chat('sk-plain-key'));
  log.set({ kind: 'refuse' });
  log.reset();
  await eventually(async () => {
    const calls = Array.from({ length: 20 }, () => proxy.chat('sk-plain-key'));
    return (await Promise.all(calls)).every(({ status }) => status === 503);
  });
  expect((await proxy.ready()).body).toContain('backlog_full');

  const rows = await metric(proxy, 'spool_rows');
  const unrecorded = await metric(proxy, 'request_rejected_unrecorded_total');
  for (let sent = 0; sent < 100; sent += 1) {
    expect((await proxy.chat('sk-plain-key')).status).toBe(503);
  }
  expect((await proxy.chat('sk-narrow-key')).status).toBe(403);
  expect(await metric(proxy, 'spool_rows')).toBe(rows);
  expect(await metric(proxy, 'request_rejected_unrecorded_total')).toBe(unrecorded + 101);
  expect(proxy.log.split('a refusal could not be written down')).toHaveLength(2);

  sendUsage(flying.upstream, 10, 5);
  const answered = await flying.response;
  expect(answered.status).toBe(200);
  log.set({ kind: 'none' });
  expect(await rowOf(answered)).toMatchObject({ provenance: 'measured' });
  await eventually(async () => (await proxy.chat('sk-plain-key')).status === 200);
  const rejected = await metric(proxy, 'request_rejected_unrecorded_total');
  expect((await proxy.chat('sk-narrow-key')).status).toBe(403);
  expect(await metric(proxy, 'request_rejected_unrecorded_total')).toBe(rejected);
  proxy.kill();
});

/** Takes all room of the volume that a process has mounted for itself. */
function fill(proxy: ProxyProcess, spool: string, name: string): string {
  const path = join(`/proc/${proxy.pid}/root`, spool, name);
  const file = openSync(path, 'w');
  for (let size = 1_048_576; size >= 1;) {
    try {
      writeSync(file, Buffer.alloc(size));
    } catch {
      size = Math.floor(size / 4);
    }
  }
  closeSync(file);
  return path;
}

test('on a full volume nothing is sent that could not be recorded, what is in flight is, and it goes on by itself', async () => {
  const spool = join(world.directory, 'full');
  const proxy = await world.startProxy({ spool: 'full', volumeMiB: 56 });
  const reserve = join(`/proc/${proxy.pid}/root`, spool, 'spool.reserve');
  expect((await proxy.chat('sk-plain-key')).status).toBe(200);
  const flying = await inFlight(() => proxy.chat('sk-budgeted-key'));
  const filler = fill(proxy, spool, 'filler');

  const sentBefore = world.upstream.seen.length;
  const heldBefore = world.services.budget.held.size;
  const refused = await proxy.chat('sk-budgeted-key');
  expect(refused.status).toBe(503);
  expect(await refused.json()).toMatchObject({ error: { code: 'metering_unavailable' } });
  expect(world.upstream.seen).toHaveLength(sentBefore);
  expect((await proxy.ready()).body).toContain('disk_full');
  await eventually(() => world.services.budget.held.size === heldBefore);
  expect(existsSync(reserve)).toBe(false);

  sendUsage(flying.upstream, 10, 5);
  const answered = await flying.response;
  expect(answered.status).toBe(200);
  expect(await rowOf(answered)).toMatchObject({ provenance: 'measured' });
  expect((await proxy.chat('sk-plain-key')).status).toBe(503);

  rmSync(filler);
  await eventually(async () => (await proxy.chat('sk-plain-key')).status === 200);
  expect(existsSync(reserve)).toBe(true);
  await eventually(async () => (await proxy.ready()).status === 200);
  proxy.kill();
});

test('a record that the volume does not take ends its client with an error, and is stored once there is room', async () => {
  const spool = join(world.directory, 'fuller');
  const proxy = await world.startProxy({ spool: 'fuller', volumeMiB: 56 });
  const plain = await inFlight(() => proxy.chat('sk-plain-key'));
  const stream = await inFlight(() => proxy.chat('sk-plain-key', { stream: true }));
  stream.upstream.writeHead(200, { 'content-type': 'text/event-stream' });
  const delta = { choices: [{ index: 0, delta: { content: 'abcd' }, finish_reason: null }] };
  stream.upstream.write(`data: ${JSON.stringify(delta)}\n\n`);
  const streamed = await stream.response;
  const fillers = [fill(proxy, spool, 'filler')];
  expect((await proxy.chat('sk-plain-key')).status).toBe(503);
  fillers.push(fill(proxy, spool, 'filler-of-the-reserve'));

  sendUsage(plain.upstream, 10, 5);
  stream.upstream.end('data: [DONE]\n\n');
  const answered = await plain.response;
  expect(answered.status).toBe(503);
  expect(await answered.json()).toMatchObject({ error: { code: 'metering_unavailable' } });
  const text = await streamed.text();
  expect(text).toContain('abcd');
  expect(text).toContain('metering_unavailable');
  expect(text).not.toContain('[DONE]');
  expect((await proxy.ready()).status).toBe(503);

  for (const filler of fillers) rmSync(filler);
  expect(await rowOf(answered)).toMatchObject({ provenance: 'measured', source: 'proxy' });
  expect(await rowOf(streamed)).toMatchObject({ provenance: 'estimated_partial', source: 'proxy' });
  await eventually(async () => (await proxy.ready()).status === 200);
  proxy.kill();
});
