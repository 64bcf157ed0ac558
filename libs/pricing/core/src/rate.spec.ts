// The exactness of rating: committed vectors as bigint, and properties over random books and vectors.
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { parseUsd, picoUsd, type PicoUsd } from '#libs/kernel';
import { USAGE_CELLS, type UsageCell, type UsageVector } from '#libs/providers/core';

import type { IdentifiedPrice, PriceEntry } from './price-entry.js';
import { PriceIndex } from './price-index.js';
import { rate, type RatingResult } from './rate.js';
import { upperBound } from './upper-bound.js';

const AT_MS = Date.parse('2026-09-01T00:00:00Z');

interface EntryParts {
  readonly provider?: string;
  readonly model?: string;
  readonly tier?: string;
  readonly from?: number;
  readonly to?: number | null;
  readonly effectiveFrom?: string;
  /** USD per token. */
  readonly rates: Partial<Record<UsageCell, string>>;
}

function entry(parts: EntryParts): IdentifiedPrice {
  const { provider = 'openai', model = 'gpt-5.6', from = 0 } = parts;
  const ratesPicoUsd: Partial<Record<UsageCell, PicoUsd>> = {};
  for (const [cell, text] of Object.entries(parts.rates)) {
    ratesPicoUsd[cell as UsageCell] = parseUsd(text);
  }
  const made: PriceEntry = {
    sku: `${provider}/${model}`,
    provider,
    model,
    conditions: {
      serviceTier: parts.tier ?? 'standard',
      inputFrom: from,
      inputTo: parts.to ?? null,
    },
    currency: 'USD',
    effectiveFrom: parts.effectiveFrom ?? '2026-08-01T00:00:00Z',
    ratesPicoUsd,
    source: { url: 'https://example.com/prices', readOn: '2026-08-01' },
  };
  const condition = `${made.conditions.serviceTier}:${from}:${made.effectiveFrom}`;
  return { ...made, priceId: `${made.sku}:${condition}` };
}

function indexOf(...entries: readonly IdentifiedPrice[]): PriceIndex {
  return new PriceIndex({ version: 'v', entries });
}

const GPT = indexOf(
  entry({
    to: 272_000,
    rates: { input_text: '0.000005', cache_read_text: '0.0000005', output_text: '0.00003' },
  }),
  entry({
    from: 272_000,
    rates: { input_text: '0.00001', cache_read_text: '0.000001', output_text: '0.000045' },
  }),
  entry({
    from: 272_000,
    effectiveFrom: '2026-08-21T00:00:00Z',
    rates: { input_text: '0.000008', cache_read_text: '0.0000008', output_text: '0.00003' },
  }),
  entry({ tier: 'flex', to: 272_000, rates: { input_text: '0.0000025', output_text: '0.000015' } }),
);
const SONNET = indexOf(
  entry({
    provider: 'anthropic',
    model: 'claude-sonnet-4-5',
    to: 200_001,
    rates: {
      input_text: '0.000003',
      cache_read_text: '0.0000003',
      cache_write_5m: '0.00000375',
      cache_write_1h: '0.000006',
      output_text: '0.000015',
    },
  }),
  entry({
    provider: 'anthropic',
    model: 'claude-sonnet-4-5',
    from: 200_001,
    rates: { input_text: '0.000006', cache_read_text: '0.0000006', output_text: '0.0000225' },
  }),
);

const BEFORE_CHANGE = Date.parse('2026-08-20T23:59:59Z');

function gpt(
  vector: UsageVector,
  atMs = BEFORE_CHANGE,
  served: string | null = null,
): RatingResult {
  return rate({
    index: GPT,
    provider: 'openai',
    model: 'gpt-5.6',
    atMs,
    vector,
    serviceTierServed: served,
    serviceTierAsked: null,
  });
}

function sonnet(vector: UsageVector): RatingResult {
  return rate({
    index: SONNET,
    provider: 'anthropic',
    model: 'claude-sonnet-4-5',
    atMs: AT_MS,
    vector,
    serviceTierServed: 'standard',
    serviceTierAsked: null,
  });
}

function costOf(result: RatingResult): bigint {
  if (!result.ok) throw new Error(`no rate for ${result.cell}`);
  return result.costPicoUsd;
}

const LONG: UsageVector = { input_text: 200_000, cache_read_text: 100_000, output_text: 1000 };

describe('vectors', () => {
  test.each([
    ['R1: 300,000 in of which 100,000 cached, 1,000 out', gpt(LONG), 2_145_000_000_000n],
    ['R2: the same under the prices of 2026-08-21', gpt(LONG, AT_MS), 1_710_000_000_000n],
    ['R4: exactly 272,000 in', gpt({ input_text: 272_000, output_text: 1000 }), 2_765_000_000_000n],
    ['R4: at 271,999', gpt({ input_text: 271_999, output_text: 1000 }), 1_389_995_000_000n],
    ['R6: flex', gpt({ input_text: 10_000, output_text: 1000 }, AT_MS, 'flex'), 40_000_000_000n],
    [
      'R7 without its searches',
      sonnet({
        input_text: 1000,
        cache_write_5m: 2000,
        cache_write_1h: 3000,
        cache_read_text: 4000,
        output_text: 500,
      }),
      37_200_000_000n,
    ],
    [
      'R8: T = 210,000',
      sonnet({ input_text: 150_000, cache_read_text: 60_000, output_text: 1000 }),
      958_500_000_000n,
    ],
    [
      'R9: T = 200,000',
      sonnet({ input_text: 140_000, cache_read_text: 60_000, output_text: 1000 }),
      453_000_000_000n,
    ],
  ])('%s', (_name, result, picoDollars) => {
    expect(costOf(result)).toBe(picoDollars);
  });

  test('R10: thoughts at the output rate, tool tokens at the input rate', () => {
    const index = indexOf(
      entry({
        provider: 'google',
        model: 'gemini-2.5-pro',
        rates: { input_text: '0.00000125', cache_read_text: '0.000000125', output_text: '0.00001' },
      }),
    );
    const rated = rate({
      index,
      provider: 'google',
      model: 'gemini-2.5-pro',
      atMs: AT_MS,
      vector: {
        input_text: 800,
        cache_read_text: 200,
        input_tool: 50,
        output_text: 300,
        output_reasoning: 700,
      },
      serviceTierServed: null,
      serviceTierAsked: null,
    });
    expect(costOf(rated)).toBe(11_087_500_000n);
  });
});

describe('states instead of guesses', () => {
  test('a model, time or tier without an entry has no rate', () => {
    expect(gpt({ input_text: 1 }, Date.parse('2026-07-31T23:59:59Z'))).toMatchObject({
      ok: false,
      cell: null,
    });
    expect(gpt({ input_text: 1 }, AT_MS, 'priority')).toMatchObject({ ok: false, cell: null });
    expect(gpt({ input_text: 300_000 }, AT_MS, 'flex')).toMatchObject({ ok: false, cell: null });
  });

  test('a one-hour cache write inherits nothing', () => {
    const index = indexOf(entry({ rates: { input_text: '0.000001', cache_write_5m: '0.000002' } }));
    const input = {
      index,
      provider: 'openai',
      model: 'gpt-5.6',
      atMs: AT_MS,
      serviceTierServed: null,
      serviceTierAsked: null,
    };
    expect(rate({ ...input, vector: { cache_write_1h: 1 } })).toMatchObject({
      ok: false,
      cell: 'cache_write_1h',
    });
    expect(rate({ ...input, vector: { cache_write_12h: 1 } })).toMatchObject({
      ok: true,
      costPicoUsd: 2_000_000n,
    });
  });

  test('an inherited modality and an assumed tier are flagged', () => {
    const asked = rate({
      index: GPT,
      provider: 'openai',
      model: 'gpt-5.6',
      atMs: AT_MS,
      vector: { input_image: 2 },
      serviceTierServed: null,
      serviceTierAsked: 'flex',
    });
    expect(asked).toMatchObject({
      ok: true,
      costPicoUsd: 5_000_000n,
      flags: ['tier_assumed', 'modality_inherited'],
    });
  });

  test('a price of zero is a price', () => {
    const index = indexOf(entry({ rates: { input_text: '0', output_text: '0' } }));
    const rated = rate({
      index,
      provider: 'openai',
      model: 'gpt-5.6',
      atMs: AT_MS,
      vector: { input_text: 9 },
      serviceTierServed: null,
      serviceTierAsked: null,
    });
    expect(rated).toMatchObject({ ok: true, costPicoUsd: 0n });
  });
});

test('a later flat price replaces earlier tiers of the same model', () => {
  const index = indexOf(
    entry({ to: 100, rates: { input_text: '1' } }),
    entry({ from: 100, rates: { input_text: '2' } }),
    entry({ effectiveFrom: '2026-08-15T00:00:00Z', rates: { input_text: '3' } }),
  );
  const rated = rate({
    index,
    provider: 'openai',
    model: 'gpt-5.6',
    atMs: AT_MS,
    vector: { input_text: 200 },
    serviceTierServed: null,
    serviceTierAsked: null,
  });
  expect(costOf(rated)).toBe(600_000_000_000_000n);
});

const CELLS = Object.keys(USAGE_CELLS) as UsageCell[];
const rateArbitrary = fc.bigInt({ min: 0n, max: 20_000_000_000n }).map((value) => picoUsd(value));
const ratesArbitrary = fc
  .record(Object.fromEntries(CELLS.map((cell) => [cell, rateArbitrary])), {
    requiredKeys: ['input_text', 'output_text'],
  })
  .map((rates) => rates as Partial<Record<UsageCell, PicoUsd>>);
const bookArbitrary = fc
  .record({
    short: ratesArbitrary,
    long: ratesArbitrary,
    priority: ratesArbitrary,
    bound: fc.integer({ min: 1, max: 1_000_000 }),
  })
  .map(({ short, long, priority, bound }) =>
    indexOf(
      { ...entry({ to: bound, rates: {} }), ratesPicoUsd: short },
      { ...entry({ from: bound, rates: {} }), ratesPicoUsd: long },
      { ...entry({ tier: 'priority', rates: {} }), ratesPicoUsd: priority },
    ),
  );
const vectorArbitrary = fc
  .record(Object.fromEntries(CELLS.map((cell) => [cell, fc.integer({ min: 0, max: 200_000 })])), {
    requiredKeys: [],
  })
  .map((vector) => vector as UsageVector);

describe('properties', () => {
  test('the lines sum to the cost, each a product of quantity and unit price', () => {
    fc.assert(
      fc.property(bookArbitrary, vectorArbitrary, (index, vector) => {
        const rated = rate({
          index,
          provider: 'openai',
          model: 'gpt-5.6',
          atMs: AT_MS,
          vector,
          serviceTierServed: null,
          serviceTierAsked: null,
        });
        if (!rated.ok) return rated.cell === 'cache_write_1h';
        const sum = rated.lines.reduce(
          (total, line) => total + BigInt(line.quantity) * line.unitPicoUsd,
          0n,
        );
        return sum === rated.costPicoUsd;
      }),
    );
  });

  test('no vector within the limits costs more than the upper bound', () => {
    fc.assert(
      fc.property(
        bookArbitrary,
        vectorArbitrary,
        fc.constantFrom('standard', 'priority', null),
        fc.integer({ min: 1, max: 4 }),
        (index, vector, served, choices) => {
          const sum = (side: boolean): number =>
            CELLS.filter((cell) => cell.startsWith('output_') === side).reduce(
              (total, cell) => total + (vector[cell] ?? 0),
              0,
            );
          const common = {
            index,
            provider: 'openai',
            model: 'gpt-5.6',
            atMs: AT_MS,
            serviceTierAsked: null,
          };
          const bound = upperBound({
            ...common,
            maxInputTokens: sum(false),
            maxOutputTokens: Math.ceil(sum(true) / choices),
            choices,
          });
          const rated = rate({ ...common, vector, serviceTierServed: served });
          if (!bound.ok) return false;
          return !rated.ok || rated.costPicoUsd <= bound.totalPicoUsd;
        },
      ),
    );
  });
});

test('the upper bound takes the dearest reachable tier and splits into input and output', () => {
  const common = {
    index: GPT,
    provider: 'openai',
    model: 'gpt-5.6',
    atMs: BEFORE_CHANGE,
    choices: 1,
    serviceTierAsked: 'default',
  };
  expect(upperBound({ ...common, maxInputTokens: 271_999, maxOutputTokens: 10 })).toEqual({
    ok: true,
    inputPartPicoUsd: 271_999n * 5_000_000n,
    perOutputTokenPicoUsd: 30_000_000n,
    totalPicoUsd: 271_999n * 5_000_000n + 300_000_000n,
  });
  expect(upperBound({ ...common, maxInputTokens: 272_000, maxOutputTokens: 10 })).toMatchObject({
    perOutputTokenPicoUsd: 45_000_000n,
  });
  expect(
    upperBound({ ...common, model: 'unknown', maxInputTokens: 1, maxOutputTokens: 1 }),
  ).toMatchObject({ ok: false });
});

test('an upper bound needs a price, and for output an output price', () => {
  const common = { provider: 'p', model: 'm', atMs: AT_MS, choices: 1, serviceTierAsked: null };
  const index = indexOf(entry({ provider: 'p', model: 'm', rates: { cache_read_text: '1' } }));
  const bound = (book: PriceIndex, maxInputTokens: number, maxOutputTokens: number) =>
    upperBound({ ...common, index: book, maxInputTokens, maxOutputTokens });
  expect(bound(indexOf(), 1, 1)).toEqual({ ok: false, reason: 'no_rate', cell: null });
  const onlyInput = indexOf(entry({ provider: 'p', model: 'm', rates: { input_text: '1' } }));
  expect(bound(index, 1, 1).ok).toBe(false);
  expect(bound(onlyInput, 2, 0)).toMatchObject({ ok: true, totalPicoUsd: 2_000_000_000_000n });
});

test('an entry is found by its identity, and an unknown identity is nothing', () => {
  const known = entry({ rates: { input_text: '1' } });
  expect(indexOf(known).byId(known.priceId)).toBe(known);
  expect(indexOf(known).byId('unknown')).toBeNull();
});
