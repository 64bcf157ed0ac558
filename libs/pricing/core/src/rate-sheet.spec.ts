import { expect, test } from '@jest/globals';

import { compileSheets } from './rate-sheet.js';

function fileWith(sheet: Record<string, unknown>): Record<string, unknown> {
  return {
    provider: 'openai',
    currency: 'USD',
    sheets: [
      {
        model: 'm',
        effective_from: '2026-08-01T00:00:00Z',
        source: { url: 'https://example.com/pricing', read_on: '2026-08-01' },
        tiers: [
          {
            service_tier: 'standard',
            input_from: 0,
            usd_per_million_tokens: { input_text: '2.5', output_text: '10' },
          },
        ],
        ...sheet,
      },
    ],
  };
}

test('a figure per million tokens becomes whole pico-dollars per token, for the model and each alias', () => {
  const compiled = compileSheets(fileWith({ aliases: ['m-2026'] }));
  expect(compiled).toMatchObject({ ok: true, rounded: [] });
  if (!compiled.ok) throw new Error('refused');
  expect(compiled.entries.map(({ sku }) => sku)).toEqual(['openai/m', 'openai/m-2026']);
  expect(compiled.entries[0]!.ratesPicoUsd).toEqual({
    input_text: 2_500_000n,
    output_text: 10_000_000n,
  });
});

test('each context tier ends where the next begins', () => {
  const rates = { input_text: '1' };
  const compiled = compileSheets(
    fileWith({
      tiers: [
        { service_tier: 'standard', input_from: 0, usd_per_million_tokens: rates },
        { service_tier: 'standard', input_from: 272_000, usd_per_million_tokens: rates },
        { service_tier: 'flex', input_from: 0, usd_per_million_tokens: rates },
      ],
    }),
  );
  if (!compiled.ok) throw new Error(compiled.faults.join('; '));
  expect(compiled.entries.map(({ conditions }) => conditions)).toEqual([
    { serviceTier: 'standard', inputFrom: 0, inputTo: 272_000 },
    { serviceTier: 'standard', inputFrom: 272_000, inputTo: null },
    { serviceTier: 'flex', inputFrom: 0, inputTo: null },
  ]);
});

test('a figure beyond 12 decimals a token is rounded half to even and reported', () => {
  const tiers = (figure: string): unknown => [
    { service_tier: 'standard', input_from: 0, usd_per_million_tokens: { input_text: figure } },
  ];
  for (const [written, ratePicoUsd] of [
    ['0.0000005', 0n],
    ['0.0000015', 2n],
    ['0.00000250000001', 3n],
  ] as const) {
    expect(compileSheets(fileWith({ tiers: tiers(written) }))).toMatchObject({
      ok: true,
      rounded: [{ sku: 'openai/m', cell: 'input_text', written, ratePicoUsd }],
    });
  }
});

test('a faulty sheet is refused with every fault named', () => {
  const compiled = compileSheets({
    ...fileWith({
      source: { url: 'ftp://x', read_on: '2026-08-01' },
      colour: 'red',
      tiers: [
        {
          service_tier: 'standard',
          input_from: 5,
          usd_per_million_tokens: { input_text: 2.5, output_text: '-1', tea: '1' },
        },
        { service_tier: 'flex', input_from: 0, usd_per_million_tokens: { input_text: '10000' } },
      ],
    }),
    currency: 'EUR',
  });
  expect(compiled).toMatchObject({ ok: false });
  const faults = compiled.ok ? '' : compiled.faults.join('\n');
  for (const place of [
    'currency',
    'sheets[0].source.url',
    'sheets[0].colour',
    'sheets[0].tiers[0].usd_per_million_tokens.input_text',
    'sheets[0].tiers[0].usd_per_million_tokens.output_text',
    'sheets[0].tiers[0].usd_per_million_tokens.tea',
    'sheets[0].tiers[1].usd_per_million_tokens.input_text',
    'input_from must start at 0 and ascend',
  ]) {
    expect(faults).toContain(place);
  }
});

test('one model priced twice for the same time and tier is a fault', () => {
  const file = fileWith({}) as { sheets: unknown[] };
  file.sheets.push(file.sheets[0]);
  expect(compileSheets(file)).toMatchObject({
    ok: false,
    faults: [expect.stringContaining('priced twice')],
  });
});

const TIER = {
  service_tier: 'standard',
  input_from: 0,
  usd_per_million_tokens: { input_text: '1' },
};

test.each<[string, unknown, string]>([
  ['a file that is a list', [], 'file: must be an object'],
  ['a file without sheets', { ...fileWith({}), sheets: [] }, 'sheets: must be a list'],
  ['a sheet that is a text', { ...fileWith({}), sheets: ['m'] }, 'sheets[0]: must be an object'],
  [
    'a date that does not exist',
    fileWith({ effective_from: '2026-13-01T00:00:00Z' }),
    'not a date',
  ],
  ['a date without a time', fileWith({ effective_from: '2026-08-01' }), 'effective_from'],
  ['no tiers', fileWith({ tiers: [] }), 'tiers: must be a list of at least 1'],
  [
    'no standard tier',
    fileWith({ tiers: [{ ...TIER, service_tier: 'flex' }] }),
    'no tier of service tier standard',
  ],
  [
    'a tier without an input rate',
    fileWith({ tiers: [{ ...TIER, usd_per_million_tokens: { output_text: '1' } }] }),
    'input_text: is missing',
  ],
  [
    'a tier that starts in the middle of a token',
    fileWith({ tiers: [{ ...TIER, input_from: 0.5 }] }),
    'input_from: must be a whole number',
  ],
  [
    'tiers out of order',
    fileWith({ tiers: [TIER, { ...TIER, input_from: 9 }, { ...TIER, input_from: 9 }] }),
    'input_from must start at 0 and ascend',
  ],
])('%s is refused', (_what, document, fault) => {
  const compiled = compileSheets(document);
  expect(compiled.ok ? '' : compiled.faults.join('\n')).toContain(fault);
});
