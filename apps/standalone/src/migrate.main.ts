/**
 * Brings the database of `DATABASE_URL` to the current schema, with one role per service and the
 * topics of the event log (those on Kafka too when `KAFKA_BROKERS` is set), and exits. Waits for
 * engines that are away. Run it before the first start of the separate services and after each
 * upgrade; standalone does the same by itself. Safe to repeat. Exit codes: 0 done, 1 failed, 2 faulty
 * configuration.
 */
import { pino } from 'pino';

import {
  kafkaAddress,
  neededKafka,
  productTopics,
  provisionKafkaTopics,
  provisionTopics,
} from '#libs/event-log/adapters';
import { messageOf, SystemClock, untilEngineAnswers } from '#libs/kernel';
import { ConfigError, EXIT_CONFIG, loadConfig, processEnvironment } from '#libs/platform/config';
import { migratePostgres, untilPostgresAnswers } from '#libs/platform/postgres';
import { POSTGRES_MIGRATIONS } from '#migrations';

import { MigrateConfig } from './migrate.config.js';

try {
  const config = loadConfig(MigrateConfig, processEnvironment());
  const { databaseUrl: url, logPartitions } = config;
  const logger = pino(pino.destination(2));
  const wait = { clock: new SystemClock(), logger };
  await untilPostgresAnswers(url, wait);
  await migratePostgres({ url, migrations: POSTGRES_MIGRATIONS, logger });
  const topics = productTopics(logPartitions);
  await provisionTopics(url, topics);
  const kafka = kafkaAddress(config, 'tollgate-migrate');
  if (kafka !== null) {
    await untilEngineAnswers(neededKafka(kafka), wait);
    await provisionKafkaTopics(kafka, topics);
  }
  process.stdout.write('the database is up to date\n');
} catch (error) {
  process.stderr.write(`migrate: ${messageOf(error)}\n`);
  process.exitCode = error instanceof ConfigError ? EXIT_CONFIG : 1;
}
