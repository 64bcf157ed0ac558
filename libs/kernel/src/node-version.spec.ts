import { expect, test } from '@jest/globals';

import { nodeFault } from './node-version.js';

test.each(['24.15.0', '24.21.0', '25.0.0', process.versions.node])('Node %s will do', (version) => {
  expect(nodeFault(version)).toBeNull();
});

test.each(['20.19.0', '24.14.9', '18.0.0', ''])('Node %j is refused with what to do', (version) => {
  expect(nodeFault(version)).toContain('npm rebuild node');
});
