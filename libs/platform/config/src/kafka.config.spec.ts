import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, describe, expect, test } from '@jest/globals';

import { KafkaConfig } from './kafka.config.js';
import { ConfigError, describeConfig, loadConfig } from './load-config.js';

const directory = mkdtempSync(join(tmpdir(), 'tollgate-kafka-config-'));
afterAll(() => rmSync(directory, { recursive: true }));

function faultsOf(environment: Record<string, string>): readonly string[] {
  try {
    loadConfig(KafkaConfig, environment);
  } catch (error) {
    return (error as ConfigError).faults;
  }
  return [];
}

describe('the settings of Kafka', () => {
  test('nothing is needed: no brokers, no TLS, no login', () => {
    expect(loadConfig(KafkaConfig, {})).toMatchObject({
      kafkaBrokers: null,
      kafkaSsl: false,
      kafkaSaslMechanism: null,
      kafkaSaslUsername: null,
      kafkaSaslPassword: null,
    });
  });

  test('a part of a login asks for all of it, every fault at once', () => {
    expect(faultsOf({ KAFKA_SASL_MECHANISM: 'plain' })).toEqual([
      'KAFKA_SASL_USERNAME is needed for the login at the brokers',
      'KAFKA_SASL_PASSWORD is needed for the login at the brokers',
    ]);
    const faults = faultsOf({ KAFKA_SASL_PASSWORD: 'x', KAFKA_SSL: '/nowhere.pem' });
    expect(faults.map((fault) => fault.split(' ', 1)[0])).toEqual([
      'KAFKA_SSL',
      'KAFKA_SASL_MECHANISM',
      'KAFKA_SASL_USERNAME',
    ]);
    const unknown = { KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'p' };
    expect(faultsOf({ ...unknown, KAFKA_SASL_MECHANISM: 'gssapi' })).toHaveLength(1);
    expect(faultsOf({ ...unknown, KAFKA_SASL_MECHANISM: 'scram-sha-512' })).toEqual([]);
  });

  test('a file of certificates is read at once, and shown by its name', () => {
    const file = join(directory, 'ca.pem');
    writeFileSync(file, '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n');
    const config = loadConfig(KafkaConfig, { KAFKA_SSL: file });
    expect(config.kafkaSsl).toMatchObject({ file, pem: expect.stringContaining('BEGIN') });
    expect(describeConfig(config)['KAFKA_SSL']).toBe(JSON.stringify(file));
    writeFileSync(file, 'not a certificate');
    expect(faultsOf({ KAFKA_SSL: file })[0]).toContain('KAFKA_SSL names no PEM certificate');
  });
});
