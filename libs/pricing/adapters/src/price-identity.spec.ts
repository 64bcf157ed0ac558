import { expect, test } from '@jest/globals';

import { picoUsd } from '#libs/kernel';
import type { PriceEntry } from '#libs/pricing/core';

import { bookVersion, identifyPrices, priceBookOf, priceIdOf } from './price-identity.js';
import { loadPriceSheets } from './price-sheet-files.js';

const ENTRY: PriceEntry = {
  sku: 'openai/m',
  provider: 'openai',
  model: 'm',
  conditions: { serviceTier: 'standard', inputFrom: 0, inputTo: null },
  currency: 'USD',
  effectiveFrom: '2026-08-01T00:00:00Z',
  ratesPicoUsd: { input_text: picoUsd(2_500_000n), output_text: picoUsd(10_000_000n) },
  source: { url: 'https://example.com/pricing', readOn: '2026-08-01' },
};

test('a price keeps its identity whatever the order of its members', () => {
  const reordered: PriceEntry = {
    ...ENTRY,
    ratesPicoUsd: { output_text: picoUsd(10_000_000n), input_text: picoUsd(2_500_000n) },
  };
  expect(priceIdOf(ENTRY)).toMatch(/^[0-9a-f]{64}$/);
  expect(priceIdOf(reordered)).toBe(priceIdOf(ENTRY));
});

test('a changed figure, condition, date or source is another price', () => {
  const changed: readonly PriceEntry[] = [
    { ...ENTRY, ratesPicoUsd: { ...ENTRY.ratesPicoUsd, input_text: picoUsd(2_500_001n) } },
    { ...ENTRY, conditions: { ...ENTRY.conditions, inputTo: 10 } },
    { ...ENTRY, effectiveFrom: '2026-08-02T00:00:00Z' },
    { ...ENTRY, source: { ...ENTRY.source, readOn: '2026-08-02' } },
  ];
  expect(new Set([ENTRY, ...changed].map(priceIdOf)).size).toBe(5);
});

test('a book version depends on the set of prices alone', () => {
  expect(bookVersion(['b', 'a', 'a'])).toBe(bookVersion(['a', 'b']));
  expect(priceBookOf([ENTRY, ENTRY]).entries).toHaveLength(1);
  expect(identifyPrices([ENTRY])[0]!.priceId).toBe(priceIdOf(ENTRY));
});

test('the sheets of the project compile without a fault and without rounding', async () => {
  const loaded = await loadPriceSheets(new URL('../../../../../prices', import.meta.url).pathname);
  expect(loaded.refused).toEqual([]);
  expect(loaded.rounded).toEqual([]);
  expect(new Set(loaded.entries.map(({ provider }) => provider))).toEqual(
    new Set(['anthropic', 'openai', 'simulator']),
  );
});
