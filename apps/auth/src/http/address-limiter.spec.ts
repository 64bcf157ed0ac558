import { expect, test } from '@jest/globals';

import { FixedClock } from '#libs/testing';

import { AddressLimiter } from './address-limiter.js';

test('an address has its calls per sliding minute; others have their own', () => {
  const clock = new FixedClock();
  const limiter = new AddressLimiter(clock, 2);
  expect(limiter.admit('a')).toBe(true);
  clock.advance(30_000);
  expect(limiter.admit('a')).toBe(true);
  expect(limiter.admit('a')).toBe(false);
  expect(limiter.admit('b')).toBe(true);
  clock.advance(30_000);
  expect(limiter.admit('a')).toBe(true);
  expect(limiter.admit('a')).toBe(false);
});

test('memory is bounded: the address that came first is forgotten', () => {
  const limiter = new AddressLimiter(new FixedClock(), 1);
  for (let nth = 0; nth <= 10_000; nth += 1) limiter.admit(`address-${nth}`);
  expect(limiter.admit('address-0')).toBe(true);
  expect(limiter.admit('address-10000')).toBe(false);
});
