import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { loadCatalog } from '#apps/auth';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tollgate-catalog-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function faultsOf(text: string): Promise<string> {
  const file = join(folder, 'catalog.json');
  await writeFile(file, text);
  return loadCatalog(file, {}).then(
    () => '',
    (error: Error) => error.message,
  );
}

test('the packaged catalogue is faultless', async () => {
  const catalog = await loadCatalog(null, { SIMULATOR_URL: 'http://127.0.0.1:8090' });
  expect(catalog.models.length).toBeGreaterThan(20);
  expect(catalog.digest).toMatch(/^[0-9a-f]{64}$/);
});

test('a faulty document is refused whole, with every fault of its form', async () => {
  const message = await faultsOf(
    JSON.stringify({ models: [{ id: 'm', surprise: 1, routes: [] }], providers: [{ name: 'p' }] }),
  );
  expect(message).toContain('models/0: must NOT have additional properties (surprise)');
  expect(message).toContain('models/0/routes');
  expect(message).toContain("providers/0: must have required property 'type'");
  expect(await faultsOf('{')).toContain('cannot be read');
});
