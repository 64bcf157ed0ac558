import { expect, test } from '@jest/globals';

import { trustsUserIdHeader } from './user-id-trust.js';

test.each([
  ['127.0.0.1', 'development', true],
  ['localhost', 'development', true],
  ['::1', 'development', true],
  ['0.0.0.0', 'development', false],
  ['127.0.0.1.example.com', 'development', false],
  ['127.0.0.1', 'production', false],
])('on %s in %s an unset TRUST_X_USER_ID means %s', (host, nodeEnv, trusted) => {
  expect(trustsUserIdHeader({ host, nodeEnv, trustUserIdHeader: null })).toBe(trusted);
});

test('what is configured decides, except that production never believes the header', () => {
  const asked = { host: '0.0.0.0', nodeEnv: 'development', trustUserIdHeader: true };
  expect(trustsUserIdHeader(asked)).toBe(true);
  expect(trustsUserIdHeader({ ...asked, host: '127.0.0.1', trustUserIdHeader: false })).toBe(false);
  expect(() => trustsUserIdHeader({ ...asked, nodeEnv: 'production' })).toThrow(
    /TRUST_X_USER_ID must not be true with NODE_ENV=production/,
  );
});
