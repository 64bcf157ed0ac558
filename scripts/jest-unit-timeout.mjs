import { jest } from '@jest/globals';

// A unit test takes milliseconds; what it gets is for a machine that stands still for a while.
jest.setTimeout(60_000);
