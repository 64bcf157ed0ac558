import { expect, test } from '@jest/globals';

import { pricedTier, reachableTiers } from './service-tier.js';

test.each([
  ['default', 'standard'],
  ['on_demand', 'standard'],
  ['Flex', 'flex'],
  ['fast', 'priority'],
  ['priority', 'priority'],
  ['batch', 'batch'],
  ['some_new_tier', 'some_new_tier'],
])('what was served as %s is priced as %s, whatever was asked', (served, tier) => {
  expect(pricedTier('openai', served, 'flex')).toEqual({ tier, flags: [] });
});

test('capacity paid for in advance is priced as standard and labelled', () => {
  const committed = { tier: 'standard', flags: ['committed_capacity'] };
  expect(pricedTier('openai', 'scale', null)).toEqual(committed);
  expect(pricedTier('bedrock', 'provisioned_throughput', null)).toEqual(committed);
  expect(pricedTier('anthropic', 'priority', null)).toEqual(committed);
});

test.each([
  [null, 'standard', []],
  ['', 'standard', []],
  ['auto', 'standard', ['tier_assumed']],
  ['flex', 'flex', ['tier_assumed']],
  ['scale', 'standard', ['committed_capacity', 'tier_assumed']],
])(
  'an answer that does not say its tier is priced by the one asked for: %s',
  (asked, tier, flags) => {
    expect(pricedTier('openai', null, asked)).toEqual({ tier, flags });
    expect(pricedTier('openai', '', asked)).toEqual({ tier, flags });
  },
);

test('a caller who leaves the choice can be served at priority, any other at their tier or standard', () => {
  for (const asked of [null, '', 'auto', 'AUTO']) {
    expect(reachableTiers('openai', asked)).toEqual(new Set(['standard', 'priority']));
  }
  expect(reachableTiers('openai', 'flex')).toEqual(new Set(['standard', 'flex']));
  expect(reachableTiers('openai', 'default')).toEqual(new Set(['standard']));
});
