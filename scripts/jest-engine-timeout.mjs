import { jest } from '@jest/globals';

// Suites that start engines or child processes get five minutes a test: a first start of PostgreSQL,
// Kafka and chdb on a loaded machine of two cores takes many seconds, and each condition that a test
// waits for has half a minute and more of its own.
jest.setTimeout(300_000);
