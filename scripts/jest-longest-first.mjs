import { statSync } from 'node:fs';

import Sequencer from '@jest/test-sequencer';

/**
 * Suites of a minute and more, which begun late would run on alone. The longest is first, beside four
 * that leave it more of the machine than the second longest does.
 */
const LONGEST = [
  'test/e2e/chaos-smoke.e2e',
  'budget-enforcer/test/restarts.int',
  'event-log/adapters/test/kafka-outage.int',
  'auth/test/lost-control.int',
  'proxy/test/killed-anywhere.int',
  'test/e2e/killed-at-random.e2e',
  'metering/test/metering.int',
  'bench/pipeline/scaling.e2e',
];
/** The others by kind: those that start a cluster or engines take tens of seconds, the rest none. */
const KINDS = ['e2e', 'int', 'deploy', 'tidy', 'unit'];

/** Puts test files in the same order on every machine, so that two workers end at about the same time. */
export default class LongestFirst extends Sequencer {
  sort(tests) {
    const ranked = tests.map((test) => ({
      test,
      rank: rankOf(test),
      size: statSync(test.path).size,
    }));
    ranked.sort((one, other) => one.rank - other.rank || other.size - one.size);
    return ranked.map(({ test }) => test);
  }
}

function rankOf({ path, context }) {
  const place = LONGEST.findIndex((name) => path.includes(name));
  if (place >= 0) return place;
  return LONGEST.length + KINDS.indexOf(context.config.displayName.name);
}
