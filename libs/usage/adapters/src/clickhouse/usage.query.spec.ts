import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';

import type { UsageFilter, UsageQuestion } from '#libs/usage/core';

import type { BoundQuery } from './sealed.query.js';
import { activityQuery, attemptsQuery, sumsQuery as sumsByState } from './usage.query.js';
import { mergeStateQuery, NOTHING_MERGED } from './whole-hours.query.js';

// The text of each statement and its parameters are reviewed as files; values of a question reach
// the text nowhere.

const EVERYTHING: UsageFilter = {
  orgId: 'default',
  startMs: 1_000,
  endMs: 2_000,
  keyIds: [],
  teamIds: [],
  userIds: [],
  models: [],
  providers: [],
};

const NARROW: UsageFilter = {
  ...EVERYTHING,
  keyIds: ["k' OR 1=1 --"],
  teamIds: ['t'],
  userIds: ['u'],
  models: ['m', 'n'],
  providers: ['p'],
};

const whole: UsageQuestion = { ...EVERYTHING, bucket: 'none', groupBy: [], maxRows: 10_000 };

const sumsQuery = (question: UsageQuestion, state = NOTHING_MERGED): BoundQuery =>
  sumsByState(question, state);
const hours: UsageQuestion = { ...whole, startMs: 3_600_000, endMs: 10_800_000 };

/** From the last hour of a day to the first hour of the day after the next. */
const days: UsageQuestion = { ...whole, startMs: 23 * 3_600_000, endMs: 49 * 3_600_000 };
const merged = { version: 7, runs: ['run-a', 'run-b'], waitingFromMs: null };

const cases: readonly (readonly [string, BoundQuery])[] = [
  ['sums-within-an-hour', sumsQuery(whole)],
  ['sums-of-whole-hours', sumsQuery(hours)],
  ['sums-of-merged-hours', sumsQuery(hours, merged)],
  ['sums-of-merged-days-by-team', sumsQuery({ ...days, bucket: 'day', groupBy: ['team'] }, merged)],
  [
    'sums-of-merged-days-of-a-key',
    sumsQuery({ ...days, keyIds: ['k'], groupBy: ['user'] }, merged),
  ],
  [
    'sums-of-merged-days-by-key-and-model',
    sumsQuery({ ...days, groupBy: ['key', 'model'] }, merged),
  ],
  ['sums-of-merged-days-by-hour', sumsQuery({ ...days, bucket: 'hour' }, merged)],
  ['sums-of-hours-partly-merged', sumsQuery(hours, { ...merged, waitingFromMs: 7_200_000 })],
  [
    'sums-of-hours-in-too-many-runs-to-name',
    sumsQuery(hours, { version: 7, runs: null, waitingFromMs: 7_200_000 }),
  ],
  ['merge-state', mergeStateQuery(hours)],
  ['sums-with-both-edges', sumsQuery({ ...whole, startMs: 1_000, endMs: 10_800_001 })],
  ['sums-by-day', sumsQuery({ ...whole, bucket: 'day' })],
  [
    'sums-by-hour-team-model-filtered',
    sumsQuery({ ...NARROW, bucket: 'hour', groupBy: ['team', 'model'], maxRows: 10 }),
  ],
  [
    'sums-by-key-user-provider',
    sumsQuery({ ...whole, bucket: 'none', groupBy: ['key', 'user', 'provider'] }),
  ],
  ['attempts-first-page', attemptsQuery(EVERYTHING, null, 101)],
  [
    'attempts-next-page-filtered',
    attemptsQuery(
      NARROW,
      { occurredAtMs: 1_500, eventId: '00000000-0000-4000-8000-000000000000' },
      101,
    ),
  ],
  ['activity', activityQuery('default', ['a', 'b'])],
];

test.each(cases)('the statement %s is the reviewed one', (name, query) => {
  const shown = `-- ${query.name}\n${query.sql}\n-- ${JSON.stringify(query.params)}\n`;
  expect(shown).toBe(readFileSync(join(goldenDir(), `${name}.sql`), 'utf8'));
});

/** The reviewed files stay beside the sources, which the compiler does not copy. */
function goldenDir(): string {
  const parts = import.meta.dirname.split('/');
  const root = parts.slice(0, parts.lastIndexOf('dist')).join('/');
  return join(root, 'libs/usage/adapters/src/clickhouse/__golden__');
}
