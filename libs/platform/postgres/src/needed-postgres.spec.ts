/** Guarantee: what may get better by waiting is waited for, and nothing else. */
import { expect, test } from '@jest/globals';

import { neededPostgres } from './needed-postgres.js';

const { isAway } = neededPostgres({ query: () => Promise.reject(new Error('never asked')) });

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

test.each(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOTFOUND', '57P03', '57P01', '53300', '08006'])(
  'a server that is not there yet, or says so, is away: %s',
  (code) => {
    expect(isAway(failure(code))).toBe(true);
  },
);

test('a connection that ends without a word is away', () => {
  expect(isAway(new Error('Connection terminated unexpectedly'))).toBe(true);
});

test.each(['28P01', '28000', '3D000', '22023', '42501'])('a refusal is final: %s', (code) => {
  expect(isAway(failure(code))).toBe(false);
});
