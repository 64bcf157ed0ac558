import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { picoUsd } from '#libs/kernel';
import { PriceIndex } from '#libs/pricing/core';

import { settle, type Ending, type Terms } from './settlement.js';

const prices = new PriceIndex({
  version: 'a'.repeat(64),
  entries: [
    {
      priceId: 'b'.repeat(64),
      sku: 'p/m',
      provider: 'p',
      model: 'm',
      conditions: { serviceTier: 'standard', inputFrom: 0, inputTo: null },
      currency: 'USD',
      effectiveFrom: '2020-01-01T00:00:00Z',
      ratesPicoUsd: { input_text: picoUsd(3n), output_text: picoUsd(7n) },
      source: { url: 'https://example.com', readOn: '2020-01-01' },
    },
  ],
});

const TERMS: Terms = {
  prices,
  provider: 'p',
  model: 'm',
  admittedAtMs: Date.parse('2026-01-01T00:00:00Z'),
  serviceTierAsked: null,
  holdPicoUsd: picoUsd(100n * 3n + 50n * 7n),
  isCeiling: false,
  heldTokens: { input: 100, output: 50 },
  sentOutputLimit: 50,
  estimatedInputTokens: 80,
};

const ENDING: Ending = {
  status: 'ok',
  wasSent: true,
  isErrorAnswer: false,
  usageText: null,
  usageDecreased: false,
  serviceTierServed: null,
  estimatedOutputTokens: 0,
};

const usage = (input: unknown, output: unknown): string =>
  JSON.stringify({ prompt_tokens: input, completion_tokens: output });

describe('an attempt is charged', () => {
  test.each<[string, Partial<Terms>, Partial<Ending>, string, bigint, string[]]>([
    ['what the provider says', {}, { usageText: usage(10, 5) }, 'measured', 65n, []],
    ['an explicit zero', {}, { usageText: usage(0, 0) }, 'measured', 0n, []],
    ['in full above its hold', {}, { usageText: usage(900, 5) }, 'measured', 2_735n, ['overrun']],
    [
      'the hold for output beyond its limit',
      {},
      { usageText: usage(10, 53) },
      'estimated_hold',
      650n,
      ['usage_quarantined'],
    ],
    [
      'output within tolerance of its limit',
      {},
      { usageText: usage(10, 52) },
      'measured',
      394n,
      [],
    ],
    [
      'output of any length when no limit was sent',
      { sentOutputLimit: null },
      { usageText: usage(1, 60) },
      'measured',
      423n,
      [],
    ],
    [
      'the hold for a negative count',
      {},
      { usageText: usage(-1, 5) },
      'estimated_hold',
      650n,
      ['usage_quarantined'],
    ],
    [
      'the hold for counts that went down',
      {},
      { usageText: usage(1, 5), usageDecreased: true },
      'estimated_hold',
      650n,
      ['usage_quarantined'],
    ],
    [
      'by estimate without figures',
      {},
      { status: 'partial', estimatedOutputTokens: 4 },
      'estimated_partial',
      268n,
      ['estimator_chars4'],
    ],
    [
      'by estimate when the figures are null',
      {},
      { usageText: '{}', estimatedOutputTokens: 4 },
      'estimated_partial',
      268n,
      ['usage_missing', 'estimator_chars4'],
    ],
    [
      'never more than the hold by estimate',
      {},
      { status: 'partial', estimatedOutputTokens: 4_000 },
      'estimated_partial',
      650n,
      ['estimator_chars4'],
    ],
    ['the hold when nothing is known', {}, { status: 'timeout' }, 'estimated_hold', 650n, []],
    [
      'nothing for a complete error',
      {},
      { status: 'provider_error', isErrorAnswer: true },
      'measured',
      0n,
      [],
    ],
    [
      'the usage of an error that has one',
      {},
      { status: 'refused', isErrorAnswer: true, usageText: usage(10, 0) },
      'measured',
      30n,
      [],
    ],
    [
      'nothing when it was not sent',
      {},
      { wasSent: false, status: 'provider_error' },
      'zero_not_sent',
      0n,
      [],
    ],
    [
      'the ceiling without a price',
      { isCeiling: true },
      { usageText: usage(10, 5) },
      'estimated_hold',
      650n,
      ['price_unknown'],
    ],
    [
      'the hold when a price is missing',
      { model: 'other' },
      { usageText: usage(10, 5) },
      'estimated_hold',
      650n,
      ['no_rate'],
    ],
  ])('%s', (_, terms, ending, provenance, cost, flags) => {
    const figures = settle({ ...TERMS, ...terms }, { ...ENDING, ...ending });
    expect(figures).toMatchObject({ provenance, costPicoUsd: cost, flags });
  });

  test('at zero only when it was not sent, the provider said zero, or answered with an error', () => {
    const ending = fc.record({
      status: fc.constantFrom('ok', 'partial', 'timeout', 'aborted', 'unknown'),
      usageText: fc.option(
        fc.constantFrom('{}', '[]', usage(null, null), usage(-5, 1), usage('1', 2)),
      ),
      usageDecreased: fc.boolean(),
      estimatedOutputTokens: fc.nat(1_000),
    });
    fc.assert(
      fc.property(ending, (parts) => {
        const figures = settle(TERMS, { ...ENDING, ...parts } as Ending);
        expect(figures.costPicoUsd).toBeGreaterThan(0n);
        expect(figures.costPicoUsd).toBeLessThanOrEqual(TERMS.holdPicoUsd);
        expect(figures.provenance).not.toBe('measured');
      }),
    );
  });
});
