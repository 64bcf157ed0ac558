import { expect, test } from '@jest/globals';

import { SystemRandom, uuidV4, type KeyId } from '#libs/kernel';

import { idInsideKey, isGeneratedKey, mintKey, reasonOfUnknownKey } from './key-format.js';
import { refusalOfKey } from './key-validation.js';

const random = new SystemRandom();
const keyId = uuidV4(random) as KeyId;

test('a minted key has 82 characters, carries its id, and is never minted twice', () => {
  const keys = Array.from({ length: 100 }, () => mintKey(random, keyId));
  for (const key of keys) {
    expect(key).toMatch(/^sk-mp-[0-9a-f]{32}-[A-Za-z0-9_-]{43}$/);
    expect(isGeneratedKey(key)).toBe(true);
    expect(idInsideKey(key)).toBe(keyId.replaceAll('-', ''));
  }
  expect(new Set(keys).size).toBe(100);
});

test('older keys with 16 hex digits and shorter secrets are of the accepted form', () => {
  expect(isGeneratedKey(`sk-mp-${'a'.repeat(16)}-${'b'.repeat(32)}`)).toBe(true);
  expect(isGeneratedKey(`sk-mp-${'a'.repeat(15)}-${'b'.repeat(32)}`)).toBe(false);
  expect(isGeneratedKey(`sk-mp-${'a'.repeat(32)}-${'b'.repeat(100_000)}`)).toBe(false);
});

test('the shape of an unknown string chooses its literal (virtual-keys/7)', () => {
  expect(reasonOfUnknownKey('abc')).toBe('Invalid key format');
  expect(reasonOfUnknownKey('sk-xx-aa-bb')).toBe('Invalid key prefix');
  expect(reasonOfUnknownKey(mintKey(random, keyId))).toBe('Key not found');
});

test('a found key is refused for its id first, then for its status', () => {
  const presented = mintKey(random, keyId);
  const other = uuidV4(random);
  expect(refusalOfKey(presented, null)).toBe('Key not found');
  expect(refusalOfKey(presented, { keyId: other, status: 'inactive' })).toBe('Key mismatch');
  expect(refusalOfKey(presented, { keyId, status: 'inactive' })).toBe('Key is inactive');
  expect(refusalOfKey(presented, { keyId, status: 'expired' })).toBe('Key has expired');
  expect(refusalOfKey(presented, { keyId, status: 'revoked' })).toBe('Budget exceeded');
  expect(refusalOfKey(presented, { keyId, status: 'active' })).toBeNull();
  expect(refusalOfKey('chosen-by-an-operator', { keyId, status: 'active' })).toBeNull();
});
