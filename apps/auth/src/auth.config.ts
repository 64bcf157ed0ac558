import { Max, Min, MinLength, ValidateIf } from 'class-validator';

import { readPeppers, type Peppers } from '#libs/keys/core';
import { EnvFlag, EnvInteger, EnvText, EnvUrl, ServiceConfig } from '#libs/platform/config';

/** Settings of the control plane as a process of its own. */
export class AuthConfig extends ServiceConfig {
  /** TCP port, 0 = any free one. */
  @EnvInteger('PORT', { describe: 'a TCP port, 0 for any free one', fallback: '8081' })
  @Min(0)
  @Max(65_535)
  port!: number;

  /** Login of the database; connections act as role `tollgate_auth`. */
  @EnvUrl('DATABASE_URL', ['postgres', 'postgresql'], {
    describe: 'the PostgreSQL of the deployment, migrated',
    isSecret: true,
  })
  databaseUrl!: string;

  /** Where the budget guard is. */
  @EnvUrl('BUDGET_URL', ['http', 'https'], {
    describe: 'where the budget-enforcer is',
    fallback: 'http://127.0.0.1:8083',
  })
  budgetUrl!: string;

  /** Where reporting is. */
  @EnvUrl('REPORTING_URL', ['http', 'https'], {
    describe: 'where reporting is',
    fallback: 'http://127.0.0.1:8084',
  })
  reportingUrl!: string;

  /** Secret half of the digests of keys, newest version first. */
  @EnvText('KEY_PEPPERS', {
    describe: 'v<number>:<base64 of 32 bytes or more>, comma-separated, newest first',
    isSecret: true,
  })
  keyPeppers!: string;

  /** The operator secret; null = administration answers 401. */
  @EnvText('ADMIN_API_KEY', {
    describe: 'the operator secret, at least 16 characters; without it administration is closed',
    fallback: null,
    isSecret: true,
  })
  @ValidateIf((config: AuthConfig) => config.adminApiKey !== null)
  @MinLength(16)
  adminApiKey!: string | null;

  /** Whether `X-User-ID` is believed from anybody. */
  @EnvFlag('TRUST_X_USER_ID', {
    describe: 'true only behind a gateway that sets X-User-ID itself',
    fallback: 'false',
  })
  trustUserIdHeader!: boolean;

  /** Proves that `X-User-ID` comes from the trusted proxy. */
  @EnvText('TRUSTED_PROXY_SECRET', {
    describe: 'what the trusted proxy sends in X-Tollgate-Proxy-Secret',
    fallback: null,
    isSecret: true,
  })
  @ValidateIf((config: AuthConfig) => config.trustedProxySecret !== null)
  @MinLength(16)
  trustedProxySecret!: string | null;

  /** `production` forbids `TRUST_X_USER_ID=true`. */
  @EnvText('NODE_ENV', { describe: 'production, development or test', fallback: 'production' })
  nodeEnv!: string;

  /** Whether team `default` is created at boot. */
  @EnvFlag('CREATE_DEFAULT_TEAM', { describe: 'true or false', fallback: 'true' })
  createDefaultTeam!: boolean;

  /** The catalogue; null = the packaged one. */
  @EnvText('CATALOG_FILE', {
    describe: 'a JSON file of models and providers; a packaged one when unset',
    fallback: null,
  })
  catalogFile!: string | null;

  /** Fills `${SIMULATOR_URL}` in the catalogue. */
  @EnvUrl('SIMULATOR_URL', ['http', 'https'], {
    describe: 'where the simulator is',
    fallback: 'http://127.0.0.1:8090',
  })
  simulatorUrl!: string;

  /** Folder of price sheets; null = the packaged one. */
  @EnvText('PRICE_SHEETS_DIR', {
    describe: 'a folder of price sheets; the packaged one when unset',
    fallback: null,
  })
  priceSheetsDir!: string | null;
}

/** What the variables mean together. */
export type AuthConfigReading =
  | { readonly peppers: Peppers; readonly faults: readonly [] }
  | { readonly peppers: null; readonly faults: readonly string[] };

/** The peppers, or every fault that no single variable shows. */
export function readAuthConfig(config: AuthConfig): AuthConfigReading {
  const reading = readPeppers(config.keyPeppers);
  const faults = reading.faults.map((fault) => `KEY_PEPPERS ${fault}`);
  if (config.nodeEnv === 'production' && config.trustUserIdHeader) {
    faults.push(
      'TRUST_X_USER_ID must not be true with NODE_ENV=production: anybody could be anyone',
    );
  }
  if (reading.peppers === null || faults.length > 0) return { peppers: null, faults };
  return { peppers: reading.peppers, faults: [] };
}
