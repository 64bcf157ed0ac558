// Guarantee: docker/Dockerfile is valid and builds what docker-compose.yml and the manifests name, from
// files that exist, into images without rights, secrets or a moving base. No engine is needed.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';
import { validate } from 'dockerfile-utils';

import { imageOf, IMAGES, PROJECT, stagesOfDockerfile, textOf } from './dockerfile.js';

const stages = stagesOfDockerfile();

test('the Dockerfile passes the lint without a warning', () => {
  expect(validate(textOf('docker/Dockerfile'))).toEqual([]);
});

test('every base is a former stage or an image pinned by a tag that names a version', () => {
  const known = new Set<string>();
  for (const { name, base } of stages.values()) {
    if (!known.has(base)) {
      expect([name, base]).toEqual([name, expect.stringMatching(/^[a-z0-9./-]+:[a-z0-9.-]+$/)]);
      // Distroless has no tags of versions; its name holds the release of Debian.
      expect(base).toMatch(/:\d+\.\d+\.\d+-|^gcr\.io\/distroless\/cc-debian13:nonroot$/);
    }
    known.add(name);
  }
});

test('the Node of the images is the one that the project is tested on', () => {
  const { dependencies } = JSON.parse(textOf('package.json')) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  const images = [...stages.values()]
    .map(({ base }) => base)
    .filter((base) => base.startsWith('node:'));
  expect(images.length).toBeGreaterThan(0);
  expect(new Set(images)).toEqual(new Set([`node:${dependencies['node']}-trixie-slim`]));
});

test.each(IMAGES)('%s runs as a user by number, never as root', (target) => {
  expect(stages.has(target)).toBe(true);
  const { user, stopSignal } = imageOf(target);
  expect(user).toMatch(/^[1-9]\d*:[1-9]\d*$/);
  expect(stopSignal).toBe('SIGTERM');
});

test.each(IMAGES)('%s starts a file of the product without a shell', (target) => {
  const { command } = imageOf(target);
  expect(command[0]).toBe('/usr/local/bin/node');
  const main = command.at(-1) ?? '';
  const source = main.replace('/app/dist/', '').replace(/\.js$/, '.ts');
  expect([main, existsSync(join(PROJECT, source))]).toEqual([main, true]);
});

test.each(IMAGES.filter((target) => target !== 'migrate'))(
  '%s says at its port whether it is well',
  (target) => {
    const { environment, healthCheck, ports } = imageOf(target);
    const port = environment['PORT'] ?? environment['SIMULATOR_PORT'];
    expect(ports).toEqual([port]);
    expect(environment['HOST']).toBe('0.0.0.0');
    expect(healthCheck?.slice(0, 2)).toEqual(['/usr/local/bin/node', '/app/healthcheck.mjs']);
    expect(healthCheck?.[2]).toBe(target === 'simulator' ? '/health' : '/health/live');
  },
);

test('only the folders of the spool and of standalone are made to be written to', () => {
  const volumes = IMAGES.map((target) => [target, imageOf(target).volumes] as const);
  expect(Object.fromEntries(volumes.filter(([, folders]) => folders.length > 0))).toEqual({
    proxy: [imageOf('proxy').environment['SPOOL_DIR']],
    standalone: [imageOf('standalone').environment['DATA_DIR']],
  });
});

test('every file that is copied exists and passes .dockerignore', () => {
  const allowed = textOf('.dockerignore')
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1));
  const copied = [...stages.values()]
    .flatMap(({ instructions }) => instructions)
    .filter(({ name, value }) => name === 'COPY' && !value.includes('--from='))
    .flatMap(({ value }) => value.split(' ').slice(0, -1))
    .filter((path) => path !== '.');
  expect(copied.length).toBeGreaterThan(0);
  expect(copied.filter((path) => !existsSync(join(PROJECT, path)))).toEqual([]);
  expect(copied.filter((path) => !allowed.includes(path))).toEqual([]);
  expect(allowed.filter((path) => !existsSync(join(PROJECT, path)))).toEqual([]);
});

test('files are taken from stages that exist', () => {
  const sources = [...stages.values()]
    .flatMap(({ instructions }) => instructions)
    .flatMap(({ value }) => /--from=(\S+)/.exec(value)?.[1] ?? []);
  expect(sources.filter((name) => !stages.has(name))).toEqual([]);
});

test('no image holds a secret', () => {
  const named = [...stages.values()]
    .flatMap(({ instructions }) => instructions)
    .filter(({ name }) => name === 'ENV' || name === 'ARG')
    .filter(({ value }) => /SECRET|PASSWORD|TOKEN|PEPPER|API_KEY|_URL/.test(value));
  expect(named).toEqual([]);
  expect(textOf('.dockerignore')).toMatch(/^\*\*\/\.env$/m);
});
