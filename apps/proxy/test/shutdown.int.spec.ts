/**
 * Guarantee: a proxy that is told to end lets answers in flight finish for `DRAIN_SECONDS`; what has not
 * ended by then ends with an error for its client and a record, and the process ends.
 * Method: a process of its own, an upstream that answers when the test says so.
 */
import type { ServerResponse } from 'node:http';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { TOPICS, type RequestCompletedV1 } from '#libs/events';
import { eventually } from '#libs/testing';

import { ProxyWorld, sendUsage, type ProxyProcess } from './proxy-process.js';

let world: ProxyWorld;

beforeAll(async () => {
  world = await ProxyWorld.start();
});
afterAll(() => world.stop());

async function started(drainSeconds: number): Promise<ProxyProcess> {
  const variables = { DRAIN_SECONDS: String(drainSeconds) };
  return world.startProxy({ spool: `drain-${drainSeconds}`, variables });
}

/** Sends a request. @returns once its upstream has it */
async function inFlight(
  proxy: ProxyProcess,
): Promise<{ readonly response: Promise<Response>; readonly upstream: ServerResponse }> {
  let upstream: ServerResponse | null = null;
  world.upstream.answer = (res) => {
    upstream = res;
  };
  const response = proxy.chat('sk-plain-key');
  return { response, upstream: await eventually(() => upstream ?? false) };
}

async function rowOf(response: Response): Promise<RequestCompletedV1> {
  const wireId = response.headers.get('x-request-id')!.slice(4);
  return eventually(async () => {
    const events = await world.logged(TOPICS.requestCompleted);
    return events.find(({ data }) => data.request_id.replaceAll('-', '') === wireId)?.data ?? false;
  });
}

test('an answer that comes within the time is delivered whole, and nothing new is admitted', async () => {
  const proxy = await started(600);
  const { response, upstream } = await inFlight(proxy);
  // What is admitted before the signal has had its effect is answered too.
  world.upstream.answer = (res) => sendUsage(res, 10, 5);
  proxy.kill('SIGTERM');
  await eventually(async () => (await proxy.ready()).body.includes('draining'));
  await eventually(async () => (await proxy.chat('sk-plain-key')).status === 503);
  sendUsage(upstream, 10, 5);
  const answered = await response;
  expect(answered.status).toBe(200);
  expect(await proxy.ended).toEqual({ code: 0, signal: null });
  expect(await rowOf(answered)).toMatchObject({ provenance: 'measured', source: 'proxy' });
});

test('an answer that does not come is broken off and recorded, and the process ends', async () => {
  const proxy = await started(1);
  const { response } = await inFlight(proxy);
  proxy.kill('SIGTERM');
  const answered = await response;
  expect(answered.status).toBe(503);
  expect(await answered.json()).toMatchObject({ error: { code: 'upstream_error' } });
  expect(await proxy.ended).toEqual({ code: 0, signal: null });
  expect(await rowOf(answered)).toMatchObject({ provenance: 'estimated_hold', source: 'proxy' });
});
