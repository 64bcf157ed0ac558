import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import { picoUsd } from '#libs/kernel';

import type { UsageRow } from '../usage-row.js';
import { cellsOf, HOUR_MS, hourOf, hoursOf, type RollupCell } from './rollup-cell.js';

const row = fc
  .record({
    occurredAtMs: fc.nat({ max: 5 * HOUR_MS }),
    orgId: fc.constantFrom('a', 'b'),
    teamId: fc.constantFrom(null, '', 'red'),
    keyId: fc.constantFrom('k', 'l'),
    userId: fc.constant('u'),
    provider: fc.constant('p'),
    model: fc.constantFrom('m', 'n'),
    final: fc.boolean(),
    provenance: fc.constantFrom('measured', 'estimated_hold' as const),
    tokensIn: fc.maxSafeNat(),
    tokensOut: fc.maxSafeNat(),
    usage: fc.dictionary(fc.constantFrom('input_text', 'output_text', 'cache_read'), fc.nat()),
    costPicoUsd: fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }).map(picoUsd),
    chargePicoUsd: fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }).map(picoUsd),
  })
  .map((changes) => changes as Partial<UsageRow> as UsageRow);

const total = <T>(items: readonly T[], amount: (item: T) => bigint): bigint =>
  items.reduce((sum, item) => sum + amount(item), 0n);

test('every attempt and every pico-dollar of a batch is in exactly one cell', () => {
  fc.assert(
    fc.property(fc.array(row), (rows) => {
      const cells = cellsOf(rows);
      const both = (of: (item: UsageRow | RollupCell) => bigint): void =>
        expect(total(cells, of)).toBe(total(rows, of));
      both(({ costPicoUsd }) => costPicoUsd);
      both(({ chargePicoUsd }) => chargePicoUsd);
      both(({ tokensIn }) => BigInt(tokensIn));
      both(({ tokensOut }) => BigInt(tokensOut));
      expect(total(cells, ({ attempts }) => BigInt(attempts))).toBe(BigInt(rows.length));
      expect(total(cells, ({ requests }) => BigInt(requests))).toBe(
        BigInt(rows.filter(({ final }) => final).length),
      );
      for (const name of ['input_text', 'output_text', 'cache_read']) {
        expect(total(cells, ({ usage }) => usage.get(name) ?? 0n)).toBe(
          total(rows, ({ usage }) => BigInt(usage[name] ?? 0)),
        );
      }
      const keys = cells.map(({ hourMs, orgId, teamId, keyId, model }) =>
        JSON.stringify([hourMs, orgId, teamId, keyId, model]),
      );
      expect(new Set(keys).size).toBe(cells.length);
    }),
  );
});

test('the cells do not depend on the order of the rows', () => {
  fc.assert(
    fc.property(fc.array(row), (rows) => {
      expect(cellsOf(rows.toReversed())).toEqual(cellsOf(rows));
    }),
  );
});

test('an hour begins on the hour in UTC, and the hours of a batch span its rows', () => {
  expect(hourOf(HOUR_MS - 1)).toBe(0);
  expect(hourOf(HOUR_MS)).toBe(HOUR_MS);
  const times = [3 * HOUR_MS + 5, HOUR_MS, 2 * HOUR_MS].map((occurredAtMs) => ({ occurredAtMs }));
  expect(hoursOf(times)).toEqual({ firstHourMs: HOUR_MS, lastHourMs: 3 * HOUR_MS });
});
