/**
 * G17: time from the last byte of an answer to the moment its cost is in a grouped usage query, on
 * standalone. Each call uses a key of its own, so that a sum of one is the call itself.
 */
import { SystemClock, delay } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { Tollgate, type TestModel } from '../e2e/harness/tollgate.js';
import { median, quantile } from './statistics.js';

const MODEL: TestModel = {
  id: 'fake-in10-out20',
  inputTokens: 10,
  outputTokens: 20,
  inputUsdPerMillion: '1',
  outputUsdPerMillion: '2',
};
/** Pause between two measured calls, milliseconds; queries must not pile up. */
const PAUSE_MS = 20;
/** The floor of G17 at the 99th percentile, milliseconds. */
const FLOOR_MS = 2_000;

/** What the run found. */
export interface FreshnessResult {
  readonly calls: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly mostMs: number;
  readonly floorMs: number;
  readonly holdsFloor: boolean;
}

/** Measures `calls` calls one after the other. */
export async function measureFreshness(calls: number): Promise<FreshnessResult> {
  const tollgate = new Tollgate([MODEL]);
  const clock = new SystemClock();
  const timesMs: number[] = [];
  await tollgate.start();
  try {
    for (let turn = 0; turn < calls; turn += 1) {
      const { id, key } = await tollgate.createKey();
      await call(tollgate.url, key);
      const finishedMs = clock.monotonicMs();
      await eventually(async () => {
        const { body } = await tollgate.admin('GET', `/v1/usage?group_by=key&key_id=${id}`);
        return body.total.requests === 1;
      });
      timesMs.push(clock.monotonicMs() - finishedMs);
      await delay(PAUSE_MS);
    }
  } finally {
    await tollgate.destroy();
  }
  const p99Ms = quantile(timesMs, 0.99);
  return {
    calls,
    p50Ms: Math.round(median(timesMs)),
    p99Ms: Math.round(p99Ms),
    mostMs: Math.round(Math.max(...timesMs)),
    floorMs: FLOOR_MS,
    holdsFloor: p99Ms <= FLOOR_MS,
  };
}

async function call(url: string, key: string): Promise<void> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: MODEL.id, messages: [{ role: 'user', content: 'hello' }] }),
  });
  if (response.status !== 200) throw new Error(`a call was answered with ${response.status}`);
  await response.arrayBuffer();
}
