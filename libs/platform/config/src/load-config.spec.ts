import { describe, expect, test } from '@jest/globals';
import { Max, Min } from 'class-validator';

import { EnvAddresses, EnvFlag, EnvInteger, EnvText, EnvUrl } from './env-variable.js';
import { ConfigError, describeConfig, loadConfig } from './load-config.js';

class SampleConfig {
  @EnvInteger('PORT', { describe: 'a TCP port', fallback: '8080' })
  @Min(0)
  @Max(65_535)
  port!: number;

  @EnvUrl('AUTH_URL', ['http', 'https'], { describe: 'where auth is' })
  authUrl!: string;

  @EnvText('ADMIN_API_KEY', { describe: 'the operator secret', fallback: null, isSecret: true })
  adminApiKey!: string | null;

  @EnvFlag('SAMPLE_TRUST', { describe: 'whether to trust', fallback: 'false' })
  isTrusting!: boolean;
}

describe('loadConfig', () => {
  test('every fault is listed at once, by variable name', () => {
    const load = (): unknown =>
      loadConfig(
        SampleConfig,
        { PORT: '70000', AUTH_URL: 'ftp://x', SAMPLE_TRUST: 'yes', SAMPLE_TRUTS: '1' },
        { ownPrefixes: ['SAMPLE_'] },
      );
    let faults: readonly string[] = [];
    try {
      load();
    } catch (error) {
      faults = (error as ConfigError).faults;
    }
    expect(faults.map((fault) => fault.split(' ')[0])).toEqual([
      'AUTH_URL',
      'SAMPLE_TRUST',
      'PORT',
      'SAMPLE_TRUTS',
    ]);
  });

  test('a required variable that is missing or empty is a fault that says what belongs there', () => {
    expect(() => loadConfig(SampleConfig, { AUTH_URL: '' })).toThrow(
      'AUTH_URL is required: where auth is',
    );
  });

  test('a good configuration is frozen, with defaults filled in and secrets shown as fingerprints', () => {
    const config = loadConfig(SampleConfig, { AUTH_URL: 'http://a/', ADMIN_API_KEY: 'secret' });
    expect(config).toMatchObject({ port: 8080, authUrl: 'http://a', isTrusting: false });
    expect(Object.isFrozen(config)).toBe(true);
    expect(describeConfig(config)['ADMIN_API_KEY']).toMatch(/^sha256:[0-9a-f]{8}$/);
  });

  test('addresses are host and port each; anything else is a fault', () => {
    class Brokers {
      @EnvAddresses('BROKERS', { describe: 'where the brokers are', fallback: null })
      brokers!: readonly string[] | null;
    }
    const load = (text: string) => loadConfig(Brokers, { BROKERS: text }).brokers;
    expect(load('')).toBe(null);
    expect(load('a:9092, b.example:9093')).toEqual(['a:9092', 'b.example:9093']);
    for (const wrong of ['a', 'a:0', 'a:70000', 'a:9092,', 'kafka://a:9092', 'a:9092;b:9092']) {
      expect(() => load(wrong)).toThrow('BROKERS is not a list of host:port');
    }
  });
});
