// Guarantee: each rule of .dependency-cruiser.cjs finds the violation it is named for. A tree with one
// violation per rule is planted in a temporary folder and cruised once with the product's own rules.
import { execFile } from 'node:child_process';
import { mkdtempSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

const root = fileURLToPath(new URL('../../', import.meta.url));
const configFile = join(root, '.dependency-cruiser.cjs');
const run = promisify(execFile);

/** A planted file and what it imports. */
type Planted = readonly [file: string, ...imports: string[]];

/** For each rule a file that breaks it, and the targets that exist for that purpose only. */
const VIOLATIONS: Readonly<Record<string, Planted>> = {
  'no-circular': ['libs/kernel/src/round.ts', './trip.js'],
  'no-orphans': ['libs/kernel/src/forgotten.ts'],
  'not-unresolvable': ['libs/kernel/src/lost.ts', './nowhere.js'],
  'layers-by-index': ['libs/keys/adapters/src/deep.ts', '../../core/src/rules.js'],
  'libs-by-index': ['apps/auth/src/deep.ts', '../../../libs/keys/core/src/rules.js'],
  'source-not-tests': ['libs/kernel/src/shipped.ts', './round.spec.js'],
  'source-not-dev': ['apps/auth/src/dev.ts', 'fast-check'],
  'libs-not-apps': ['libs/keys/adapters/src/upward.ts', '#apps/auth'],
  'kafka-clients-apart': ['libs/keys/adapters/src/broker.ts', 'kafkajs'],
  'one-appender': ['libs/event-log/adapters/src/kafka/second.ts', '@platformatic/kafka'],
  'libs-not-migrations': ['libs/keys/adapters/src/migrate.ts', '#migrations'],
  'kernel-alone': ['libs/kernel/src/heavy.ts', '#libs/events'],
  'events-on-kernel': ['libs/events/src/heavy.ts', '#libs/keys/core'],
  'core-is-pure': ['libs/keys/core/src/impure.ts', 'pg'],
  'core-inward': ['libs/keys/core/src/outward.ts', '#libs/keys/adapters'],
  'core-not-platform': ['libs/keys/core/src/technical.ts', '#libs/platform/config'],
  'contract-suite-alone': ['libs/keys/contract/src/partial.ts', '#libs/keys/adapters'],
  'samples-alone': ['libs/usage/samples/src/testing.ts', '@jest/globals'],
  'contract-suite-packages': ['libs/keys/contract/src/packed.ts', 'pg'],
  'adapters-not-adapters': ['libs/keys/adapters/src/sideways.ts', '#libs/usage/adapters'],
  'platform-without-domain': ['libs/platform/config/src/domain.ts', '#libs/keys/core'],
  'platform-kits-apart': ['libs/platform/config/src/kits.ts', '#libs/platform/http'],
  'testing-in-tests-only': ['libs/keys/adapters/src/harness.ts', '#libs/testing'],
  'testing-not-below-itself': ['libs/kernel/src/harness.spec.ts', '#libs/testing'],
  'testing-without-domain': ['libs/testing/src/domain.ts', '#libs/keys/core'],
  'migrations-alone': ['migrations/live.ts', '#libs/keys/core'],
  'foreign-core': ['libs/keys/core/src/curious.ts', '#libs/usage/core'],
  'foreign-core-usage': ['libs/usage/core/src/curious.ts', '#libs/keys/core'],
  'foreign-core-budgets': ['libs/budgets/core/src/curious.ts', '#libs/keys/core'],
  'foreign-core-pricing': ['libs/pricing/core/src/curious.ts', '#libs/keys/core'],
  'foreign-core-billing': ['libs/billing/core/src/curious.ts', '#libs/keys/core'],
  'no-cross-app': ['apps/auth/src/neighbour.ts', '#apps/proxy'],
  'standalone-entry-only': ['apps/standalone/src/deep.ts', '../../proxy/src/inner.js'],
  'tests-enter-apps-by-index': ['test/deep.ts', '../apps/proxy/src/inner.js'],
  'oracle-alone': ['test/chaos/oracle/partial.ts', '#libs/kernel'],
  'services-without-engines': ['apps/auth/src/engine.ts', 'pg'],
  'console-alone': ['apps/console/src/shared.ts', '#libs/kernel'],
  'simulator-alone': ['apps/simulator/src/informed.ts', '#libs/keys/core'],
  'cli-over-http': ['apps/cli/src/direct.ts', '#libs/keys/core'],
  'cli-without-packages': ['apps/cli/src/packed.ts', 'pg'],
};

const INDEXED =
  'kernel events testing keys/core keys/adapters usage/core usage/adapters platform/config platform/http';
const INDEXES: readonly Planted[] = INDEXED.split(' ').map((lib): Planted => [
  `libs/${lib}/src/index.ts`,
]);

/** What the violations lean on, and uses that every rule must leave alone. */
const ALLOWED: readonly Planted[] = [
  ...INDEXES,
  ['libs/kernel/src/trip.ts', './round.js'],
  ['libs/kernel/src/round.spec.ts'],
  ['libs/keys/core/src/rules.ts', '#libs/kernel', '#libs/events'],
  ['libs/keys/adapters/src/store.ts', '#libs/keys/core', '#libs/platform/config', 'pg'],
  ['libs/keys/adapters/test/store.int.spec.ts', '#libs/testing', '#libs/keys/adapters'],
  ['libs/event-log/adapters/src/kafka/kafka-appender.ts', '@platformatic/kafka'],
  ['libs/event-log/adapters/src/kafka/reader.ts', 'kafkajs'],
  ['libs/platform/http/src/kit.ts', '#libs/platform/config', '#libs/kernel'],
  ['apps/auth/src/index.ts', '#libs/keys/core', '#libs/keys/adapters', '#libs/platform/http'],
  ['apps/proxy/src/index.ts', './inner.js'],
  ['apps/proxy/src/inner.ts', '#libs/kernel'],
  ['apps/standalone/src/main.ts', '#apps/auth', '#apps/proxy', '#migrations', 'pg'],
  ['apps/simulator/src/index.ts', '#libs/kernel', '#libs/platform/config'],
  ['apps/cli/src/main.ts', '#libs/kernel', '#libs/platform/config'],
  ['migrations/index.ts', '#libs/kernel'],
];

interface Found {
  readonly from: string;
  readonly rule: { readonly name: string };
}

let tree: string;
let found: readonly Found[];

function plant([file, ...imports]: Planted): void {
  const target = join(tree, file);
  mkdirSync(dirname(target), { recursive: true });
  const lines = imports.map((name, n) => `import * as used${n} from '${name}';\nvoid used${n};`);
  writeFileSync(target, `${lines.join('\n')}\nexport const here = '${file}';\n`);
}

beforeAll(async () => {
  tree = mkdtempSync(join(tmpdir(), 'tollgate-rules-'));
  for (const file of [...ALLOWED, ...Object.values(VIOLATIONS)]) plant(file);
  const { imports, dependencies, devDependencies } = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  );
  const manifest = { name: 'planted', type: 'module', imports, dependencies, devDependencies };
  writeFileSync(join(tree, 'package.json'), JSON.stringify(manifest));
  writeFileSync(join(tree, 'tsconfig.json'), '{ "include": ["apps", "libs"] }');
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
  const command = join(root, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs');
  const args = [command, 'apps', 'libs', 'test', 'migrations', '--config', configFile];
  const options = { cwd: tree, maxBuffer: 64 * 1024 * 1024 };
  const { stdout } = await run(process.execPath, [...args, '--output-type', 'json'], options);
  found = JSON.parse(stdout).summary.violations;
});

afterAll(() => rmSync(tree, { recursive: true, force: true }));

describe('dependency rules', () => {
  test('every rule has a planted violation and a reason', () => {
    const { forbidden } = createRequire(import.meta.url)(configFile);
    const names = forbidden.map((rule: { name: string }) => rule.name);
    expect(names.toSorted()).toEqual(Object.keys(VIOLATIONS).toSorted());
    for (const rule of forbidden) expect(rule.comment.length).toBeGreaterThan(20);
  });

  test.each(Object.entries(VIOLATIONS))('%s finds its violation', (name, [file]) => {
    expect(found).toContainEqual(
      expect.objectContaining({ from: file, rule: expect.objectContaining({ name }) }),
    );
  });

  test('uses that the architecture wants raise no direction rule', () => {
    const files = new Set(ALLOWED.map(([file]) => file));
    const wrong = found.filter(
      (one) => files.has(one.from) && !['no-orphans', 'no-circular'].includes(one.rule.name),
    );
    expect(wrong.map((one) => `${one.rule.name}: ${one.from}`)).toEqual([]);
  });
});
