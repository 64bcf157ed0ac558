/**
 * Guarantee: a call whose client leaves while it waits for a connection to the provider ends at once,
 * is never sent, costs nothing, and takes no place among the answers that are read on.
 * Method: a process of its own with one connection, an upstream that answers when the test says so.
 */
import type { ServerResponse } from 'node:http';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';
import { eventually } from '#libs/testing';

import { ProxyWorld, sendUsage, type ProxyProcess } from './proxy-process.js';

let world: ProxyWorld;

beforeAll(async () => {
  world = await ProxyWorld.start();
});
afterAll(() => world.stop());

async function untilMetric(proxy: ProxyProcess, sample: string): Promise<void> {
  await eventually(async () => {
    const metrics = await (await fetch(`${proxy.url}/metrics`)).text();
    return metrics.split('\n').includes(sample);
  });
}

test('a client that leaves the queue leaves nothing behind', async () => {
  const held: ServerResponse[] = [];
  world.upstream.answer = (res) => held.push(res);
  const proxy = await world.startProxy({ variables: { UPSTREAM_CONNECTIONS: '1' } });
  const running = proxy.chat('sk-plain-key');
  await eventually(() => held.length === 1);
  const leaving = new AbortController();
  const left = proxy.chat('sk-plain-key', {}, leaving.signal);
  await untilMetric(proxy, 'proxy_attempts_open 2');
  leaving.abort();
  await expect(left).rejects.toThrow('abort');
  await untilMetric(proxy, 'proxy_attempts_open 1');
  await untilMetric(proxy, 'proxy_drains_open 0');
  const ended = await eventually(async () => (await world.logged(TOPICS.requestCompleted))[0]);
  expect(ended?.data).toMatchObject({ status: 'aborted', provenance: 'zero_not_sent' });
  sendUsage(held[0]!, 10, 5);
  expect((await running).status).toBe(200);
  world.upstream.answer = (res) => sendUsage(res, 10, 5);
  expect((await proxy.chat('sk-plain-key')).status).toBe(200);
  expect(world.upstream.seen).toHaveLength(2);
});
