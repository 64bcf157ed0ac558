/**
 * Guarantee: a process waits for an engine that is away, within a bound, and says so; what waiting
 * cannot mend ends it at once.
 */
import { expect, test } from '@jest/globals';

import { untilEngineAnswers } from './needed-engine.js';

/** An engine that fails so often before it answers, and a clock that each question moves by 5 s. */
function engineOf(failures: number, isAway = true) {
  const said: string[] = [];
  let nowMs = 0;
  let asked = 0;
  const engine = {
    name: 'PostgreSQL',
    ask: async () => {
      nowMs += 5_000;
      asked += 1;
      if (asked <= failures) throw new Error('connection refused');
    },
    isAway: () => isAway,
  };
  const wait = {
    clock: { monotonicMs: () => nowMs },
    logger: {
      warn: (facts: object, message: string) => said.push(message + JSON.stringify(facts)),
    },
    patienceMs: 30_000,
  };
  return { engine, wait, said, asked: () => asked };
}

test('an engine that answers at once is asked once, and nothing is said', async () => {
  const { engine, wait, said, asked } = engineOf(0);
  await untilEngineAnswers(engine, wait);
  expect([asked(), said]).toEqual([1, []]);
});

test('an engine that comes later is waited for, and the log says so every 10 s', async () => {
  const { engine, wait, said, asked } = engineOf(4);
  await untilEngineAnswers(engine, wait);
  expect(asked()).toBe(5);
  expect(said).toEqual(Array(2).fill('waits for PostgreSQL{"reason":"connection refused"}'));
});

test('patience ends with the last reason', async () => {
  const { engine, wait } = engineOf(100);
  await expect(untilEngineAnswers(engine, wait)).rejects.toMatchObject({
    code: 'engine.away',
    message: 'PostgreSQL did not answer for 30 s: connection refused',
  });
});

test('an engine that refuses is not asked again', async () => {
  const { engine, wait, asked } = engineOf(100, false);
  await expect(untilEngineAnswers(engine, wait)).rejects.toMatchObject({
    code: 'engine.refused',
    message: 'PostgreSQL does not let us in: connection refused',
  });
  expect(asked()).toBe(1);
});
