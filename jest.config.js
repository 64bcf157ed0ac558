import { fileURLToPath } from 'node:url';

const base = { testEnvironment: 'node', transform: {}, rootDir: 'dist' };
const timeoutOf = (kind) => ({
  setupFilesAfterEnv: [fileURLToPath(new URL(`scripts/jest-${kind}-timeout.mjs`, import.meta.url))],
});
const engineTimeout = timeoutOf('engine');

/** Jest runs the emitted JavaScript; the suffix and the folder of a file decide its project. */
export default {
  maxWorkers: 2,
  workerIdleMemoryLimit: '512MB',
  testSequencer: '<rootDir>/scripts/jest-longest-first.mjs',
  reporters: ['default', '<rootDir>/scripts/jest-summary.mjs'],
  projects: [
    {
      ...base,
      ...timeoutOf('unit'),
      displayName: 'unit',
      testRegex: '/dist/(apps|libs)/.+/src/.*(?<!\\.(int|e2e))\\.spec\\.js$',
    },
    {
      ...base,
      ...engineTimeout,
      displayName: 'int',
      testRegex: '/dist/(apps|libs|migrations)/(.+/)?test/.*\\.int\\.spec\\.js$',
    },
    {
      ...base,
      ...engineTimeout,
      displayName: 'e2e',
      testRegex: '/dist/test/(e2e|sink-worker|bench)/.*\\.e2e\\.spec\\.js$',
    },
    {
      ...base,
      ...engineTimeout,
      displayName: 'deploy',
      testRegex: '/dist/test/deploy/.*\\.spec\\.js$',
    },
    {
      ...base,
      ...engineTimeout,
      displayName: 'tidy',
      testRegex: '/dist/test/(tidy|dependency-rules|event-schemas|up)\\.spec\\.js$',
    },
  ],
};
