import { jest } from '@jest/globals';

// Suites that start engines or child processes get two minutes a test, because a first start of
// PostgreSQL and chdb on a loaded machine of two cores takes many seconds. Unit specs keep 5 s.
jest.setTimeout(120_000);
