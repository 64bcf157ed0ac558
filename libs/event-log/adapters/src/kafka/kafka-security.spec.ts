import { describe, expect, test } from '@jest/globals';

import { appenderSecurity, readerSecurity, type KafkaSecurity } from './kafka-security.js';

describe('what each client is told about security', () => {
  test('nothing on an open network', () => {
    const open: KafkaSecurity = { tls: false, login: null };
    expect([readerSecurity(open), appenderSecurity(open)]).toEqual([{}, {}]);
  });

  test.each([
    ['plain', 'PLAIN'],
    ['scram-sha-256', 'SCRAM-SHA-256'],
    ['scram-sha-512', 'SCRAM-SHA-512'],
  ] as const)('%s by the name that each of them knows', (mechanism, otherName) => {
    const login = { mechanism, username: 'u', password: 'p' };
    const security: KafkaSecurity = { tls: { ca: 'PEM' }, login };
    expect(readerSecurity(security)).toEqual({ ssl: { ca: 'PEM' }, sasl: login });
    expect(appenderSecurity(security)).toEqual({
      tls: { ca: 'PEM' },
      tlsServerName: true,
      sasl: { ...login, mechanism: otherName },
    });
  });

  test('the certificates of the system when none are named', () => {
    const security: KafkaSecurity = { tls: true, login: null };
    expect(readerSecurity(security)).toEqual({ ssl: {} });
    expect(appenderSecurity(security)).toEqual({ tls: {}, tlsServerName: true });
  });
});
