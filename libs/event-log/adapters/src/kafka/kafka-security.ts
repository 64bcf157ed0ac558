import type { ConnectionOptions } from 'node:tls';

import type { SASLOptions as OtherSaslOptions } from '@platformatic/kafka';
import type { SASLOptions } from 'kafkajs';

/** How connections to the brokers are protected, and who we are there. */
export interface KafkaSecurity {
  /** TLS with the system's certificates, or with those of a PEM text; false = none. */
  readonly tls: boolean | { readonly ca: string };
  /** Null = the brokers ask for none. */
  readonly login: {
    readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
    readonly username: string;
    readonly password: string;
  } | null;
}

/** What the client that reads is told. */
export function readerSecurity(security: KafkaSecurity): {
  ssl?: ConnectionOptions;
  sasl?: SASLOptions;
} {
  const { tls, login } = security;
  return {
    ...(tls !== false && { ssl: tlsOptions(tls) }),
    ...(login !== null && { sasl: { ...login } }),
  };
}

const OTHER_NAMES = {
  plain: 'PLAIN',
  'scram-sha-256': 'SCRAM-SHA-256',
  'scram-sha-512': 'SCRAM-SHA-512',
} as const;

/** What the client that appends is told. */
export function appenderSecurity(security: KafkaSecurity): {
  tls?: ConnectionOptions;
  /** Names the host in the handshake, so that its certificate is checked against it. */
  tlsServerName?: boolean;
  sasl?: OtherSaslOptions;
} {
  const { tls, login } = security;
  return {
    ...(tls !== false && { tls: tlsOptions(tls), tlsServerName: true }),
    ...(login !== null && { sasl: { ...login, mechanism: OTHER_NAMES[login.mechanism] } }),
  };
}

function tlsOptions(tls: true | { readonly ca: string }): ConnectionOptions {
  return tls === true ? {} : { ca: tls.ca };
}
