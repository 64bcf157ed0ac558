import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import type { LogRecord } from '#libs/event-log/core';
import { AppError, SystemClock } from '#libs/kernel';

import { asRead, completed, SampleEmitter } from '../../test/sample-events.js';
import type { PlannedBatch } from '../domain/plan-batch.js';
import { isRowFault, RowFaultSearch } from './row-fault.js';

const OWNED = { topic: 'request.completed', partition: 0, epoch: 1n };

function engineFault(engineCode: string | null): AppError {
  return new AppError({
    code: 'clickhouse.failed',
    kind: 'internal',
    publicMessage: 'internal error',
    details: { engineCode },
  });
}

test('only what the engine says of the content of a row makes a record suspicious', () => {
  expect(['469', '27', '72'].map((code) => isRowFault(engineFault(code)))).toEqual([
    true,
    true,
    true,
  ]);
  // A missing table or column, a wrong password, too many parts, a full disk, no answer at all.
  for (const code of ['60', '16', '516', '252', '243', null]) {
    expect([code, isRowFault(engineFault(code))]).toEqual([code, false]);
  }
  expect(isRowFault(new Error('27'))).toBe(false);
});

test('one bad row of n is found with at most log2 n refused batches and as many good ones', () => {
  const emitter = new SampleEmitter();
  const all = asRead(Array.from({ length: 300 }, (_, n) => emitter.completed(completed(n))));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300 }), fc.nat(), (size, at) => {
      const bad = BigInt(at % size);
      const search = new RowFaultSearch(new SystemClock());
      const records = all.slice(0, size);
      const steps = { refused: 0, written: 0 };
      let next = 0n;
      while (next < size) {
        let tried = search.head(OWNED, from(records, next));
        let parked: bigint | null = null;
        while (parked === null && tried.some(({ offset }) => offset === bad)) {
          steps.refused += 1;
          const narrowed = search.narrow(OWNED, planOf(tried), from(records, next), null);
          ({ records: tried, refused: parked } = narrowed);
        }
        steps.written += 1;
        if (parked !== null) expect([parked, tried.length]).toEqual([bad, 1]);
        next = tried.at(-1)!.offset + 1n;
      }
      const halvings = Math.ceil(Math.log2(size));
      expect(steps.refused).toBeLessThanOrEqual(halvings + 1);
      expect(steps.written).toBeLessThanOrEqual(halvings + 2);
    }),
  );
});

test('more than 20 parked rows in 10 minutes are a fault of the table', () => {
  const emitter = new SampleEmitter();
  const [record] = asRead([emitter.completed(completed(1))]);
  const search = new RowFaultSearch(new SystemClock());
  const park = () => search.narrow(OWNED, planOf([record!]), [record!], null);
  for (let n = 0; n < 20; n += 1) expect(park().refused).toBe(0n);
  expect(park).toThrow(expect.objectContaining({ code: 'metering.rows_refused' }));
});

function from(records: readonly LogRecord[], offset: bigint): readonly LogRecord[] {
  return records.filter((record) => record.offset >= offset);
}

function planOf(records: readonly LogRecord[]): PlannedBatch {
  const range = { first: records[0]!.offset, last: records.at(-1)!.offset };
  return { range, refused: [], unbooked: [] } as unknown as PlannedBatch;
}
