import { describe, expect, test } from '@jest/globals';

import type { PlaceHoldInput, PlaceHoldResult } from '#libs/budgets/core';
import { picoUsd } from '#libs/kernel';

import { HoldBatcher, type HoldCall } from './hold-batcher.js';

function call(...holdIds: string[]): HoldCall {
  const holds = holdIds.map((holdId): PlaceHoldInput => ({
    holdId,
    subjects: [],
    wantPicoUsd: picoUsd(1n),
    leastPicoUsd: picoUsd(1n),
  }));
  return { emitterId: 'e', holds };
}

function answer(calls: readonly HoldCall[]): PlaceHoldResult[][] {
  return calls.map(({ holds }) =>
    holds.map(({ holdId, wantPicoUsd }) => ({
      holdId,
      outcome: 'held' as const,
      amountPicoUsd: wantPicoUsd,
      budgets: [],
    })),
  );
}

/** A batcher whose transactions end when told; it notes how many calls each decided. */
function steered() {
  const transactions: { calls: readonly HoldCall[]; end: (error?: Error) => void }[] = [];
  const batcher = new HoldBatcher(
    (calls) =>
      new Promise((resolve, reject) => {
        transactions.push({
          calls,
          end: (error) => (error === undefined ? resolve(answer(calls)) : reject(error)),
        });
      }),
  );
  return { batcher, transactions };
}

describe('merging calls', () => {
  test('calls that arrive while a transaction runs are decided together in the next', async () => {
    const { batcher, transactions } = steered();
    const results = [
      batcher.place(call('a')),
      batcher.place(call('b')),
      batcher.place(call('c', 'd')),
    ];
    expect(transactions.map((each) => each.calls.length)).toEqual([1]);
    transactions[0]!.end();
    await results[0];
    await Promise.resolve();
    expect(transactions.map((each) => each.calls.length)).toEqual([1, 2]);
    transactions[1]!.end();
    const ids = (await Promise.all(results)).map((each) => each.map(({ holdId }) => holdId));
    expect(ids).toEqual([['a'], ['b'], ['c', 'd']]);
  });

  test('a failed transaction fails its own calls and the next one runs', async () => {
    const { batcher, transactions } = steered();
    const failing = batcher.place(call('a'));
    const following = batcher.place(call('b'));
    transactions[0]!.end(new Error('lost'));
    await expect(failing).rejects.toThrow('lost');
    await Promise.resolve();
    transactions[1]!.end();
    await expect(following).resolves.toHaveLength(1);
  });

  test('a transaction decides at most 1,000 holds and the queue keeps at most 20,000', async () => {
    const { batcher, transactions } = steered();
    const many = (): HoldCall => call(...Array.from({ length: 400 }, (_, at) => `h${at}`));
    const first = batcher.place(call('first'));
    const waiting = Array.from({ length: 50 }, () => batcher.place(many()));
    await expect(batcher.place(call('late'))).rejects.toMatchObject({
      code: 'budget.unavailable',
      retryable: true,
    });
    transactions[0]!.end();
    await first;
    await Promise.resolve();
    expect(transactions[1]!.calls).toHaveLength(2);
    for (let at = 1; at <= 25; at += 1) {
      transactions[at]!.end();
      await waiting[at * 2 - 1];
      await Promise.resolve();
    }
    await expect(Promise.all(waiting)).resolves.toHaveLength(50);
  });
});
