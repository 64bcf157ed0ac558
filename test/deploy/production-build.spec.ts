// Guarantee: what ships holds no test and no failpoint, loads, and behaves as what was tested. The
// product is laid out from the emitted code of this run, as the image build does it.
import { execFile, spawn } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { FAILPOINTS } from '#libs/kernel';

import { PROJECT } from './dockerfile.js';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'tollgate-product-'));
const product = join(folder, 'product');
let files: readonly string[];

beforeAll(async () => {
  await run(process.execPath, [join(PROJECT, 'scripts/build-production.mjs'), product]);
  symlinkSync(join(PROJECT, 'node_modules'), join(product, 'node_modules'));
  files = readdirSync(join(product, 'dist'), { recursive: true }).map(String);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a main module with an environment of its own. @returns exit code and standard error */
function runMain(root: string, app: string, env: Readonly<Record<string, string>>) {
  return new Promise<{ readonly code: number | null; readonly errors: string }>((resolve) => {
    const main = join(root, 'dist/apps', app, 'src/main.js');
    const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    child.on('close', (code) => resolve({ code, errors }));
  });
}

test('nothing but code and its source maps ships, and no test', () => {
  const modules = files.filter((file) => /\.[a-z]+$/.test(file));
  expect(modules.length).toBeGreaterThan(100);
  expect(modules.filter((file) => !/\.js(\.map)?$/.test(file))).toEqual([]);
  expect(modules.filter((file) => /\.(spec|contract|bench|child)\.js$/.test(file))).toEqual([]);
  expect(modules.filter((file) => /(^|\/)(test|testing|contract)\//.test(file))).toEqual([]);
});

test('no call of a failpoint is left, and none of their names', () => {
  const modules = files.filter((file) => file.endsWith('.js'));
  const quoted = FAILPOINTS.map((name) => `'${name}'`);
  const found = modules.flatMap((file) =>
    readFileSync(join(product, 'dist', file), 'utf8')
      .split('\n')
      .filter(
        (line) => /\bfailpoint\((?!\))/.test(line) || quoted.some((one) => line.includes(one)),
      )
      .map((line) => `${file}: ${line.trim()}`),
  );
  expect(found).toEqual([]);
});

test('a stripped module keeps its lines, so that its source map stays right', () => {
  const stripped = files.filter((file) => {
    if (!file.endsWith('.js') || file.endsWith('kernel/src/failpoint.js')) return false;
    const before = readFileSync(join(PROJECT, 'dist', file), 'utf8');
    const after = readFileSync(join(product, 'dist', file), 'utf8');
    expect([file, after.split('\n').length]).toEqual([file, before.split('\n').length]);
    return before !== after;
  });
  expect(stripped.length).toBeGreaterThan(0);
});

test.each(['auth', 'proxy', 'metering', 'budget-enforcer', 'reporting'])(
  '%s refuses a faulty configuration as it did before, fault by fault, with exit code 2',
  async (app) => {
    const env = { LOG_PARTITIONS: '0', PORT: 'x', NODE_ENV: 'production' };
    const [tested, shipped] = await Promise.all([
      runMain(PROJECT, app, env),
      runMain(product, app, env),
    ]);
    expect(shipped).toEqual(tested);
    expect(shipped.code).toBe(2);
    expect(shipped.errors).toContain('SERVICE_SECRET is required');
    expect(shipped.errors).toContain('LOG_PARTITIONS must not be less than 1');
  },
);

test('a product that is asked for faults does not even look at them', async () => {
  const script =
    'const { armFailpoints, failpoint } = await import("#libs/kernel");' +
    'armFailpoints("nonsense"); armFailpoints("sink.after_plan=kill9"); failpoint("sink.after_plan");' +
    'process.stdout.write("alive");';
  const file = join(product, 'probe.mjs');
  writeFileSync(file, script);
  const { stdout } = await run(process.execPath, [file], { cwd: product });
  expect(stdout).toBe('alive');
});

test('a failpoint that is no statement on a line of its own stops the build and is named', async () => {
  const odd = mkdtempSync(join(folder, 'odd-'));
  const lines = ["failpoint('a.b');", "  if (x) failpoint('a.b');", "// failpoint('a.b');"];
  writeFileSync(join(odd, 'odd.js'), `${lines.join('\n')}\n`);
  const strip = join(PROJECT, 'scripts/strip-failpoints.mjs');
  await expect(run(process.execPath, [strip, odd])).rejects.toMatchObject({
    code: 1,
    stderr: 'odd.js:2: a failpoint must be a statement on a line of its own\n',
    stdout: '1 failpoints removed\n',
  });
  expect(readFileSync(join(odd, 'odd.js'), 'utf8').split('\n')[0]).toBe(';');
});
