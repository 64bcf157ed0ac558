import { readFileSync } from 'node:fs';

import { IsIn, Max, MinLength, Min, ValidateIf } from 'class-validator';

import { EnvAddresses, EnvInteger, EnvText, EnvValue } from './env-variable.js';

/** How the brokers know who asks. */
export const KAFKA_SASL_MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512'] as const;
/** One of them. */
export type KafkaSaslMechanism = (typeof KAFKA_SASL_MECHANISMS)[number];

/** A file of certificates to trust, as it was read. */
export interface TrustedCertificates {
  readonly file: string;
  /** One certificate or more, PEM. */
  readonly pem: string;
  /** What a description of the configuration shows. */
  toJSON(): string;
}

/** How a process reaches the event log on Kafka; it is in PostgreSQL when no brokers are given. */
export class KafkaConfig {
  @EnvAddresses('KAFKA_BROKERS', {
    describe: 'the Kafka of the event log, host:port each; the log is in PostgreSQL when unset',
    fallback: null,
  })
  kafkaBrokers!: readonly string[] | null;

  @EnvInteger('KAFKA_SESSION_MS', {
    describe: 'after this long without a sign of life the partitions of a process go to others',
    fallback: '10000',
  })
  @Min(1_000)
  @Max(300_000)
  kafkaSessionMs!: number;

  @EnvValue('KAFKA_SSL', parseTls, {
    describe: 'true, false, or the file of the certificates to trust (PEM)',
    fallback: 'false',
  })
  kafkaSsl!: boolean | TrustedCertificates;

  @EnvText('KAFKA_SASL_MECHANISM', {
    describe: 'plain, scram-sha-256 or scram-sha-512; no login when unset',
    fallback: null,
  })
  @ValidateIf((config: KafkaConfig) => config.hasLogin)
  @IsIn(KAFKA_SASL_MECHANISMS)
  kafkaSaslMechanism!: KafkaSaslMechanism | null;

  @EnvText('KAFKA_SASL_USERNAME', { describe: 'the login at the brokers', fallback: null })
  @ValidateIf((config: KafkaConfig) => config.hasLogin)
  @MinLength(1, { message: 'is needed for the login at the brokers' })
  kafkaSaslUsername!: string | null;

  @EnvText('KAFKA_SASL_PASSWORD', {
    describe: 'the password of the login at the brokers',
    fallback: null,
    isSecret: true,
  })
  @ValidateIf((config: KafkaConfig) => config.hasLogin)
  @MinLength(1, { message: 'is needed for the login at the brokers' })
  kafkaSaslPassword!: string | null;

  /** Whether any part of a login was given; then all of it is needed. */
  private get hasLogin(): boolean {
    const { kafkaSaslMechanism, kafkaSaslUsername, kafkaSaslPassword } = this;
    return [kafkaSaslMechanism, kafkaSaslUsername, kafkaSaslPassword].some((one) => one !== null);
  }
}

/** @throws Error whose message says what is wrong with the text */
function parseTls(text: string): boolean | TrustedCertificates {
  if (text === 'true' || text === 'false') return text === 'true';
  let pem: string;
  try {
    pem = readFileSync(text, 'utf8');
  } catch {
    throw new Error('is neither true nor false nor a file that can be read');
  }
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) throw new Error('names no PEM certificate');
  return { file: text, pem, toJSON: () => text };
}
