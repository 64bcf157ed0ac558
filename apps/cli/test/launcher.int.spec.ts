// Guarantee: bin/tollgate works from anywhere, also through a link, speaks to the address it is told,
// sends the credential as a header only, and ends with the exit code that scripts rely on.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { projectRoot } from '#libs/platform/config';

const folder = mkdtempSync(join(tmpdir(), 'tollgate-cli-'));
const launcher = join(projectRoot(), 'bin', 'tollgate');
const seen: string[] = [];

let server: Server;
let url: string;

beforeAll(async () => {
  server = createServer((req, res) => {
    seen.push(`${req.method} ${req.url} ${req.headers.authorization}`);
    const isKnown = req.headers.authorization === 'ADMIN right';
    res.writeHead(isKnown ? 200 : 401, { 'content-type': 'application/json' });
    res.end(isKnown ? '[]' : '{"detail":"Not authenticated"}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

function tollgate(
  args: readonly string[],
  env: Record<string, string>,
  program = launcher,
): Promise<Ended> {
  const options = { cwd: folder, env: { PATH: '/usr/bin:/bin', DATA_DIR: folder, ...env } };
  return new Promise((resolve) => {
    execFile(program, args, options, (failure, out, error) => {
      resolve({ code: failure === null ? 0 : Number(failure.code), out, error });
    });
  });
}

test('a command reaches the address it is told and exits with 0', async () => {
  const ended = await tollgate(['keys', 'list', '--json'], {
    TOLLGATE_URL: url,
    ADMIN_API_KEY: 'right',
  });
  expect(ended).toEqual({ code: 0, out: '[]\n', error: '' });
  expect(seen.at(-1)).toBe('GET /api/keys ADMIN right');
});

test('through a link, address and credential come from the data folder', async () => {
  const link = join(folder, 'linked');
  symlinkSync(launcher, link);
  writeFileSync(join(folder, 'standalone.json'), JSON.stringify({ url }));
  writeFileSync(join(folder, 'secrets.json'), JSON.stringify({ ADMIN_API_KEY: 'right' }));
  expect((await tollgate(['keys', 'list'], {}, link)).code).toBe(0);
});

test('a refused credential exits with 1 and does not repeat the secret', async () => {
  const ended = await tollgate(['keys', 'list'], { TOLLGATE_URL: url, ADMIN_API_KEY: 'wrong-one' });
  expect(ended.code).toBe(1);
  expect(ended.out).toBe('');
  expect(ended.error).toContain('Not authenticated');
  expect(ended.error).not.toContain('wrong-one');
});

test('a usage error exits with 2', async () => {
  expect((await tollgate(['keys', 'create'], {})).code).toBe(2);
});

test('an address that nobody answers exits with 3 and says how to start', async () => {
  const env = { TOLLGATE_URL: 'http://127.0.0.1:1', ADMIN_API_KEY: 'right' };
  const ended = await tollgate(['keys', 'list'], env);
  expect(ended.code).toBe(3);
  expect(ended.error).toContain('npm start');
});
