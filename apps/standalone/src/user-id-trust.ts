import { ConfigError } from '#libs/platform/config';

import type { StandaloneConfig } from './standalone.config.js';

/** What decides whether `X-User-ID` is believed without a credential. */
export type UserIdTrustSettings = Pick<StandaloneConfig, 'host' | 'nodeEnv' | 'trustUserIdHeader'>;

/**
 * Whether `X-User-ID` is believed without a credential: as configured, else only outside production
 * while nothing but this machine can connect.
 * @throws ConfigError when it is asked for in production, where anybody could be anyone
 */
export function trustsUserIdHeader(settings: UserIdTrustSettings): boolean {
  const { host, nodeEnv, trustUserIdHeader } = settings;
  const isProduction = nodeEnv === 'production';
  if (isProduction && trustUserIdHeader === true) {
    throw new ConfigError([
      'TRUST_X_USER_ID must not be true with NODE_ENV=production: anybody could be anyone',
    ]);
  }
  return trustUserIdHeader ?? (!isProduction && isLoopback(host));
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
