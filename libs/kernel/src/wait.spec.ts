import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { AppError, assert, messageOf } from './app-error.js';
import { backoffMs, delay } from './wait.js';

describe('waiting', () => {
  test('a pause stays within its bounds whatever the attempt', () => {
    const attempt = fc.nat(1_000);
    const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(attempt, unit, (count, chance) => {
        const pauseMs = backoffMs(count, { firstMs: 100, mostMs: 10_000 }, chance);
        return pauseMs >= 1 && pauseMs <= 10_000;
      }),
    );
  });

  test('a delay ends at once when it is aborted, also before it began', async () => {
    const stop = new AbortController();
    const waiting = delay(60_000, stop.signal);
    stop.abort();
    await waiting;
    await expect(delay(60_000, stop.signal)).resolves.toBeUndefined();
  });
});

describe('errors', () => {
  test('a failed assertion is internal and says nothing to callers', () => {
    const failing = (): void => assert(false, 'sums differ');
    expect(failing).toThrow(
      expect.objectContaining({ code: 'internal.assertion', publicMessage: 'internal error' }),
    );
    expect(() => assert(true, 'never')).not.toThrow();
  });

  test('an error keeps its parts, and anything thrown has a message', () => {
    const error = new AppError({ code: 'a.b', kind: 'conflict', publicMessage: 'p', cause: 1 });
    expect(error).toMatchObject({ message: 'p', retryable: false, details: {}, cause: 1 });
    expect([messageOf(error), messageOf('text')]).toEqual(['p', 'text']);
  });
});
