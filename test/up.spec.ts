// Guarantee: the script behind `npm start` and `npm test` installs only what is missing, runs the product
// on its own Node, tells it once to stop, and passes its exit code on. It runs here in a folder of its
// own, with stand-ins for npm, the compiler and the product that write down how they were called.
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterEach, beforeEach, expect, test } from '@jest/globals';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** A product that counts its signals, drains for a moment, and ends with a code of its own. */
const PRODUCT = `
let told = 0;
process.on('SIGINT', () => {
  told += 1;
  if (told === 1) setTimeout(() => { console.log('told ' + told); process.exit(7); }, 400);
});
setInterval(() => {}, 1000);
console.log('serving');
`;

let folder: string;

function put(path: string, text: string): void {
  const file = join(folder, path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, text);
}

function stamp(): string {
  const digest = createHash('sha256').update('{}').digest('hex');
  return `${digest} ${process.platform}-${process.arch}\n`;
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tollgate-up-'));
  mkdirSync(join(folder, 'scripts'));
  copyFileSync(join(root, 'scripts/up.mjs'), join(folder, 'scripts/up.mjs'));
  put('package.json', '{"type":"module"}');
  put('package-lock.json', '{}');
  put('node_modules/.tollgate-install', stamp());
  put('node_modules/@typescript/native/bin/tsc', '');
  put(
    'node_modules/jest/bin/jest.js',
    `console.log('3 passed, 0 failed ' + process.argv.slice(4));`,
  );
  put('dist/apps/standalone/src/main.js', PRODUCT);
  put('bin/npm', '#!/bin/sh\necho "$@" >> npm.calls\n');
  chmodSync(join(folder, 'bin/npm'), 0o755);
  mkdirSync(join(folder, 'node_modules/.bin'), { recursive: true });
  symlinkSync(process.execPath, join(folder, 'node_modules/.bin/node'));
});

afterEach(() => rmSync(folder, { recursive: true }));

interface Running {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly ended: Promise<number | null>;
}

function up(...args: string[]): Running {
  const child = spawn(process.execPath, [join(folder, 'scripts/up.mjs'), ...args], {
    env: { PATH: `${join(folder, 'bin')}:/usr/bin:/bin` },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, output: () => output, ended };
}

async function served(running: Running): Promise<void> {
  while (!running.output().includes('serving')) {
    await new Promise((resolve) => running.child.stdout!.once('data', resolve));
  }
}

test('signals from the terminal and from npm reach the product as one, and its exit code is passed on', async () => {
  const running = up('start');
  await served(running);
  running.child.kill('SIGINT');
  running.child.kill('SIGINT');
  expect(await running.ended).toBe(7);
  expect(running.output()).toContain('told 1');
});

test('nothing is installed when the lock file is the one that was installed', async () => {
  expect(await up('test').ended).toBe(0);
  expect(existsSync(join(folder, 'npm.calls'))).toBe(false);
});

test('a changed lock file is installed once, without audit and funding notes', async () => {
  writeFileSync(join(folder, 'node_modules/.tollgate-install'), 'older\n');
  expect(await up('test').ended).toBe(0);
  expect(await up('test').ended).toBe(0);
  const calls = readFileSync(join(folder, 'npm.calls'), 'utf8');
  expect(calls).toBe('install --no-audit --no-fund\n');
});

test('a missing Node of our own is rebuilt, and named when that does not help', async () => {
  rmSync(join(folder, 'node_modules/.bin/node'));
  const running = up('test');
  expect(await running.ended).toBe(1);
  expect(readFileSync(join(folder, 'npm.calls'), 'utf8')).toBe('rebuild node\n');
  expect(running.output()).toContain('ignore-scripts');
  expect(running.output()).toMatch(/0 passed, 1 failed\n$/);
});

test('arguments of test go to Jest, whose last line stays the last', async () => {
  const running = up('test', '--selectProjects', 'unit');
  expect(await running.ended).toBe(0);
  expect(running.output()).toMatch(/3 passed, 0 failed .*--selectProjects,unit\n$/);
});

test('a build that fails shows the compiler and counts as one failure', async () => {
  put('node_modules/@typescript/native/bin/tsc', `console.log('TS2322: no'); process.exit(1);`);
  const running = up('test');
  expect(await running.ended).toBe(1);
  expect(running.output()).toContain('TS2322: no');
  expect(running.output()).toMatch(/0 passed, 1 failed\n$/);
});

test('an unknown command ends with 2 and shows the commands', async () => {
  const running = up('nonsense');
  expect(await running.ended).toBe(2);
  expect(running.output()).toContain('npm start');
});
