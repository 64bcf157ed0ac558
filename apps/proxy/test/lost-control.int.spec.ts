/**
 * Guarantee: what `control` says is a hint to a proxy. When the log loses its end and news with it, a
 * key that was stopped is refused within 30 s all the same, and a key that may spend again is served
 * (C5).
 * Method: a proxy on a real event log in PostgreSQL whose last records are dropped, as a lost disk
 * would; time is set forward.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { TOPICS } from '#libs/events';
import { keyDigests } from '#libs/keys/core';
import { eventually } from '#libs/testing';

import { KEYS, PEPPERS, ProxyFixture } from './proxy-fixture.js';

/** Of the team of `sk-budgeted-key`. */
const EXCEEDED = {
  budget_id: '00000000-0000-4000-8000-00000000000b',
  scope: 'team',
  subject_id: 'red',
  epoch: 1,
  budget_rev: 1,
  exhausted: true,
  period: 'total',
  resets_at: null,
  limit_pusd: '1',
  settled_pusd: '1',
};

let proxy: ProxyFixture;

beforeAll(async () => {
  proxy = await ProxyFixture.start();
});
afterAll(() => proxy.stop());

async function statusOf(key: string): Promise<number> {
  const response = await proxy.chat(key, {});
  await response.text();
  return response.status;
}

/** Changes what the key directory knows of a key, without a word. */
function change(presented: string, changes: object): void {
  const [digest] = keyDigests(PEPPERS, presented);
  proxy.keys.set(digest!, { ...KEYS[presented]!, ...changes });
}

/**
 * The log loses records that the proxy has read; what is appended next gets their offsets, so that
 * this proxy never reads it.
 */
async function loseEndOfControl(): Promise<void> {
  const { next } = await proxy.eventLog.bounds(TOPICS.control, 0);
  for (let n = 0; n < 3; n += 1) await proxy.tell('budget.threshold.v1', {});
  // The proxy reads in order: once this key is forgotten, everything before it was read too.
  await statusOf('sk-narrow-key');
  const { lookups } = proxy;
  await proxy.tell('key.updated.v1', { key_id: KEYS['sk-narrow-key']!.keyId });
  await eventually(
    async () => {
      await statusOf('sk-narrow-key');
      return proxy.lookups > lookups;
    },
    { deadlineMs: 30_000 },
  );
  await proxy.loseFrom(TOPICS.control, 0, next);
}

describe('news that went with the end of the log', () => {
  test('leave a stopped key in use for 30 s at most, whether it is used meanwhile or not', async () => {
    expect(await statusOf('sk-plain-key')).toBe(200);
    await loseEndOfControl();
    change('sk-plain-key', { enabled: false, rev: 2 });
    await proxy.tell('key.disabled.v1', { key_id: KEYS['sk-plain-key']!.keyId, rev: 2 });
    proxy.clock.shiftMs += 30_000;
    expect(await statusOf('sk-plain-key')).toBe(401);
  });

  test('leave no key blocked by a budget that is exhausted no longer', async () => {
    expect(await statusOf('sk-budgeted-key')).toBe(200);
    // What was skipped so far; then the proxy hears of it.
    for (let n = 0; n < 4; n += 1) await proxy.tell('budget.threshold.v1', {});
    await proxy.tell('budget.exceeded.v1', EXCEEDED);
    await eventually(async () => (await statusOf('sk-budgeted-key')) === 401, {
      deadlineMs: 30_000,
    });
    await loseEndOfControl();
    await proxy.tell('budget.reinstated.v1', { ...EXCEEDED, budget_rev: 2, exhausted: false });
    proxy.clock.shiftMs += 90_000;
    expect(await statusOf('sk-budgeted-key')).toBe(200);
  });
});
