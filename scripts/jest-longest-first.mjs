import { statSync } from 'node:fs';

import Sequencer from '@jest/test-sequencer';

/** Suites of a minute and more, longest first: begun late, one of them would run on alone. */
const LONGEST = [
  'test/e2e/killed-at-random.e2e',
  'budget-enforcer/test/restarts.int',
  'event-log/adapters/test/kafka-outage.int',
  'auth/test/lost-control.int',
  'proxy/test/killed-anywhere.int',
  'metering/test/metering.int',
  'bench/pipeline/scaling.e2e',
];
/** The others by kind: those that start a cluster or engines take tens of seconds. */
const WITH_ENGINES = ['e2e', 'int', 'deploy'];
/** Runs a cluster for minutes, beside suites that leave it the machine. */
const FAULTS = 'test/e2e/chaos-smoke.e2e';

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
  const kind = WITH_ENGINES.indexOf(context.config.displayName.name);
  if (kind >= 0 && !path.includes(FAULTS)) return LONGEST.length + kind;
  return LONGEST.length + WITH_ENGINES.length + (path.includes(FAULTS) ? 0 : 1);
}
