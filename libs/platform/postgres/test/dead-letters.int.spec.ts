/**
 * Guarantee: a record that cannot be read is parked, also when a log that lost its end has given its
 * offset to another record; the same record once more changes nothing.
 * Method: the table on a real PostgreSQL, under a service's role.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { SystemClock, SystemRandom } from '#libs/kernel';
import {
  Database,
  DEAD_LETTER_DDL,
  EmbeddedPostgres,
  keepDeadLetters,
  markDeadLetterRetried,
  migratePostgres,
  readDeadLetter,
  SqlMigration,
  type DeadLetter,
  type StoredDeadLetter,
} from '#libs/platform/postgres';

class CreateLetters extends SqlMigration {
  readonly number = 1;
  readonly title = 'create_letters';
  readonly sql = DEAD_LETTER_DDL;
}

const PARKED_AT = '2026-01-01T00:00:00Z';
let directory: string;
let server: EmbeddedPostgres;
let database: Database;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-pg-'));
  chmodSync(directory, 0o711);
  const [clock, random] = [new SystemClock(), new SystemRandom()];
  server = await EmbeddedPostgres.start({ dataDir: directory, clock, random, isDurable: false });
  const [{ url }, logger] = [server, { info: () => undefined }];
  await migratePostgres({ url, migrations: { auth: [CreateLetters] }, logger });
  database = new Database({ url, schema: 'auth', applicationName: 'spec' });
});
afterAll(async () => {
  await database.close();
  await server.stop();
  rmSync(directory, { recursive: true });
});

function letter(offset: bigint, value: string, ceType = 'x.v1'): DeadLetter {
  const headers = { ce_type: ceType };
  return {
    record: {
      topic: 'control',
      partition: 0,
      offset,
      key: 'k',
      headers,
      value: Buffer.from(value),
    },
    faultClass: 'malformed',
    error: `the fault of ${ceType} ${value}`,
    booked: false,
  };
}

const park = (...letters: readonly DeadLetter[]): Promise<void> =>
  database.transaction((tx) => keepDeadLetters(tx, letters));
const read = (offset: bigint): Promise<StoredDeadLetter | null> =>
  readDeadLetter(database, { topic: 'control', partition: 0, offset });

/** Parks a letter that was dealt with some time ago. */
async function dealtWith(former: DeadLetter): Promise<void> {
  await park(former);
  await database.transaction((tx) => markDeadLetterRetried(tx, former.record));
  await database.query('UPDATE dead_letter SET created_at = $1 WHERE "offset" = $2', [
    PARKED_AT,
    former.record.offset,
  ]);
}

test('the same record once more changes nothing, in whatever company it comes', async () => {
  const former = letter(1n, 'former');
  await dealtWith(former);
  await park({ ...former, error: 'said otherwise' }, letter(2n, 'beside it'));
  expect(await read(1n)).toMatchObject({
    state: 'retried',
    error: 'the fault of x.v1 former',
    parkedAtMs: Date.parse(PARKED_AT),
  });
  expect(await read(2n)).toMatchObject({ state: 'parked' });
});

test.each([
  [11n, 'another value', letter(11n, 'latter')],
  [12n, 'other headers alone', letter(12n, 'former', 'y.v1')],
])('another record at the offset of a former one is parked (%s, %s)', async (offset, _, latter) => {
  await dealtWith(letter(offset, 'former'));
  await park({ ...latter, booked: true });
  const stored = (await read(offset))!;
  expect(stored).toMatchObject({
    state: 'parked',
    error: latter.error,
    booked: true,
    headers: latter.record.headers,
    value: latter.record.value,
  });
  expect(stored.parkedAtMs).toBeGreaterThan(Date.parse(PARKED_AT));
});
