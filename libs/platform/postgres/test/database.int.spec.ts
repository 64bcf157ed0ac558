import { mkdtempSync, rmSync, chmodSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { delay, SystemClock, SystemRandom } from '#libs/kernel';
import {
  Database,
  EmbeddedPostgres,
  LOG_POSITION_DDL,
  migratePostgres,
  OUTBOX_DDL,
  OutboxRelay,
  OutboxWriter,
  PartitionPositions,
  roleOf,
  SCHEMAS,
  SqlMigration,
  type OutboxRecord,
  type PostgresMigrations,
  type SchemaName,
} from '#libs/platform/postgres';
import { openSilentProxy } from './silent-proxy.js';

class CreateFirst extends SqlMigration {
  readonly number = 1;
  readonly title = 'create_first';
  readonly sql = `${LOG_POSITION_DDL}${OUTBOX_DDL}
    CREATE TABLE entry (id integer PRIMARY KEY, amount numeric(38,12), big bigint);`;
}
class AddAuditRow extends SqlMigration {
  readonly number = 2;
  readonly title = 'add_audit_row';
  readonly sql = `CREATE TABLE audit_row (id integer);
    REVOKE UPDATE, DELETE, TRUNCATE ON audit_row FROM tollgate_budget;`;
}
class Broken extends SqlMigration {
  readonly number = 3;
  readonly title = 'broken';
  readonly sql = 'CREATE TABLE left_over (id integer); SELECT nonsense;';
}

const logger = { info: () => undefined };
const migrations: PostgresMigrations = { auth: [CreateFirst], budget: [CreateFirst, AddAuditRow] };
const opened: Database[] = [];
let directory: string;
let server: EmbeddedPostgres;

function open(schema: SchemaName | null, lockTimeoutMs = 10_000): Database {
  const database = new Database({
    url: server.url,
    schema,
    applicationName: 'spec',
    maxConnections: 5,
    lockTimeoutMs,
  });
  opened.push(database);
  return database;
}

async function eventually(check: () => Promise<boolean>): Promise<void> {
  const clock = new SystemClock();
  for (const endMs = clock.monotonicMs() + 60_000; !(await check()); await delay(10)) {
    if (clock.monotonicMs() > endMs) throw new Error('not within a minute');
  }
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-pg-'));
  chmodSync(directory, 0o711);
  const [clock, random] = [new SystemClock(), new SystemRandom()];
  server = await EmbeddedPostgres.start({ dataDir: directory, clock, random, isDurable: false });
  const run = () => migratePostgres({ url: server.url, migrations, logger });
  await Promise.all([run(), run(), run()]);
});
afterAll(async () => {
  await Promise.all(opened.map((database) => database.close()));
  await server.stop();
  rmSync(directory, { recursive: true });
});

describe('migrations', () => {
  test('several processes at once apply each migration once, and again nothing', async () => {
    await migratePostgres({ url: server.url, migrations, logger });
    const { rows } = await open(null).query('SELECT name FROM budget.schema_migration ORDER BY id');
    expect(rows).toEqual([
      { name: 'create_first0000000000001' },
      { name: 'add_audit_row0000000000002' },
    ]);
  });

  test('a migration that fails leaves nothing of itself and is named', async () => {
    const broken = { budget: [CreateFirst, AddAuditRow, Broken] };
    await expect(
      migratePostgres({ url: server.url, migrations: broken, logger }),
    ).rejects.toMatchObject({
      code: 'postgres.migration_failed',
      message: /schema budget.*nonsense/,
    });
    const { rows } = await open(null).query("SELECT to_regclass('budget.left_over') AS found");
    expect(rows).toEqual([{ found: null }]);
  });

  test('a login that is no superuser can migrate its own database', async () => {
    const admin = open(null);
    await admin.query("CREATE ROLE deployer LOGIN CREATEROLE PASSWORD 'x'");
    const roles = SCHEMAS.map(roleOf).join(', ');
    await admin.query(`GRANT ${roles} TO deployer WITH ADMIN OPTION`);
    await admin.query('CREATE DATABASE deployed OWNER deployer');
    const url = new URL(server.url);
    [url.username, url.password, url.pathname] = ['deployer', 'x', '/deployed'];
    await migratePostgres({ url: url.toString(), migrations, logger });
    const service = new Database({
      url: url.toString(),
      schema: 'budget',
      applicationName: 'spec',
    });
    opened.push(service);
    expect((await service.query('SELECT count(*) AS n FROM entry')).rows).toEqual([{ n: 0n }]);
  });
});

describe('roles', () => {
  test('a service reaches its own schema; any other is refused with 42501', async () => {
    const budget = open('budget');
    await budget.query('INSERT INTO entry VALUES (1, 0.5, 2)');
    for (const other of ['SELECT * FROM auth.entry', 'CREATE TABLE public.mine (id integer)']) {
      await expect(budget.query(other)).rejects.toMatchObject({ code: '42501' });
    }
  });

  test('rights that a migration took away stay away', async () => {
    const budget = open('budget');
    await budget.query('INSERT INTO audit_row VALUES (1)');
    await expect(budget.query('DELETE FROM audit_row')).rejects.toMatchObject({ code: '42501' });
  });

  test('parameters of the URL do not set the role aside', async () => {
    const url = `${server.url}?options=${encodeURIComponent('-c role=tollgate')}`;
    const database = new Database({ url, schema: 'budget', applicationName: 'spec' });
    opened.push(database);
    const { rows } = await database.query('SELECT current_user AS name');
    expect(rows).toEqual([{ name: 'tollgate_budget' }]);
  });
});

describe('database', () => {
  test('columns lose no digit: int8 is bigint, numeric is text', async () => {
    const { rows } = await open('budget').query(
      `SELECT $1::bigint AS big, 12345678901234567890.123456789012::numeric(38,12) AS amount,
              '2026-11-20'::date AS day, $2::bytea AS bytes`,
      [9_007_199_254_740_993n, Buffer.from([0, 128, 255])],
    );
    expect(rows).toEqual([
      {
        big: 9_007_199_254_740_993n,
        amount: '12345678901234567890.123456789012',
        day: '2026-11-20',
        bytes: Buffer.from([0, 128, 255]),
      },
    ]);
  });

  test('a transaction that throws leaves nothing, and its after-commit work does not run', async () => {
    const budget = open('budget');
    let ran = 0;
    const work = budget.transaction(async (tx) => {
      tx.afterCommit(() => (ran += 1));
      await tx.query('INSERT INTO entry VALUES (10, 1, 1)');
      throw new Error('changed my mind');
    });
    await expect(work).rejects.toThrow('changed my mind');
    expect((await budget.query('SELECT 1 FROM entry WHERE id = 10')).rowCount).toBe(0);
    await budget.transaction(async (tx) => tx.afterCommit(() => (ran += 1)));
    expect(ran).toBe(1);
  });

  test('a transaction that hides a failed statement is not taken for committed', async () => {
    const work = open('budget').transaction(async (tx) => {
      await tx.query('INSERT INTO entry VALUES (11, 1, 1)');
      await tx.query('SELECT nonsense').catch(() => undefined);
    });
    await expect(work).rejects.toMatchObject({ code: 'postgres.rolled_back' });
  });

  test('a connection that breaks inside a transaction is thrown away', async () => {
    const owner = open(null);
    const work = owner.transaction((tx) =>
      tx.query('SELECT pg_terminate_backend(pg_backend_pid())'),
    );
    await expect(work).rejects.toThrow('terminating connection');
    expect((await owner.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });
});

test('the server is told to give up a client that vanishes within half a minute', async () => {
  const session = await open('auth').session();
  const { rows } = await session.query<{ name: string; setting: string }>(
    "SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp%'",
  );
  await session.close();
  const settings = new Map(rows.map(({ name, setting }) => [name, Number(setting)]));
  const of = (name: string): number => settings.get(name)!;
  const idle = of('tcp_keepalives_idle');
  // A setting that the system does not know reads 0.
  expect(idle).toBeGreaterThan(0);
  const givenUpS = idle + of('tcp_keepalives_interval') * of('tcp_keepalives_count');
  expect(givenUpS).toBeLessThan(30);
  expect(of('tcp_user_timeout')).toBeLessThan(30_000);
});

describe('a server that falls silent', () => {
  test('fails the statement that waits, and its session counts as lost', async () => {
    const proxy = await openSilentProxy(server.url);
    const through = { url: proxy.url, schema: 'auth', applicationName: 'silent' } as const;
    // What is answered may take its time on a busy machine; what is not is given up soon.
    const patient = new Database(through);
    const answered = await patient.session();
    expect((await answered.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await expect(answered.query('SELECT nonsense')).rejects.toMatchObject({ code: '42703' });
    expect(answered.lost.aborted).toBe(false);
    await answered.close();
    const hurried = new Database({ ...through, statementTimeoutMs: 100 });
    const session = await hurried.session();
    expect(session.lost.aborted).toBe(false);
    proxy.silence();
    await expect(session.query('SELECT 1')).rejects.toThrow('timeout');
    expect(session.lost.aborted).toBe(true);
    await session.close();
    await patient.close();
    await hurried.close();
    await proxy.close();
  });
});

describe('partition positions', () => {
  const positions = new PartitionPositions();

  test('taking a partition fences every older epoch', async () => {
    const budget = open('budget');
    const first = await positions.take(budget, 't', 0, 5n);
    expect(first).toEqual({ epoch: 1n, nextOffset: 5n });
    await budget.transaction(async (tx) => {
      expect(await positions.assertEpoch(tx, 't', 0, 1n)).toBe(5n);
      await positions.advance(tx, 't', 0, 1n, 9n);
    });
    expect(await positions.take(budget, 't', 0, 0n)).toEqual({ epoch: 2n, nextOffset: 9n });
    const fenced = { code: 'log.fenced', retryable: true };
    for (const step of ['assertEpoch', 'advance'] as const) {
      const late = budget.transaction(async (tx) => positions[step](tx, 't', 0, 1n, 12n));
      await expect(late).rejects.toMatchObject(fenced);
    }
    const back = budget.transaction((tx) => positions.advance(tx, 't', 0, 2n, 8n));
    await expect(back).rejects.toMatchObject(fenced);
  });

  test('a take-over waits for the transaction of the owner before it', async () => {
    const [budget, other] = [open('budget'), open('budget', 300)];
    const { epoch } = await positions.take(budget, 't', 1, 0n);
    await budget.transaction(async (tx) => {
      await positions.assertEpoch(tx, 't', 1, epoch);
      await expect(positions.take(other, 't', 1, 0n)).rejects.toMatchObject({ code: '55P03' });
      await positions.advance(tx, 't', 1, epoch, 3n);
    });
    expect(await positions.take(other, 't', 1, 0n)).toEqual({ epoch: epoch + 1n, nextOffset: 3n });
  });
});

describe('outbox', () => {
  const WRITERS = 40;
  const entry = (topic: string, partition: number, key: string): OutboxRecord => ({
    topic,
    partition,
    key,
    headers: { ce_type: 'x.y.v1', note: '"ä"' },
    value: Buffer.from([0, 200, ...Buffer.from(key)]),
  });

  function relay(
    database: Database,
    writer: OutboxWriter,
    append: (records: readonly OutboxRecord[]) => Promise<void>,
  ): OutboxRelay {
    const random = new SystemRandom();
    const quiet = { warn: () => undefined };
    return new OutboxRelay({ database, service: 'auth', writer, append, random, logger: quiet });
  }

  test('records of many writers leave in commit order without a gap; rolled back ones never do', async () => {
    // All writers at once, and none of them gives up on a connection or a lock while others are slow.
    const auth = new Database({
      url: server.url,
      schema: 'auth',
      applicationName: 'spec',
      maxConnections: WRITERS + 1,
      lockTimeoutMs: 60_000,
      statementTimeoutMs: 60_000,
    });
    opened.push(auth);
    const writer = new OutboxWriter();
    const sent: OutboxRecord[] = [];
    let failures = 3;
    const sender = relay(auth, writer, async (records) => {
      if (failures-- > 0) throw new Error('the log is down');
      sent.push(...records);
    });
    sender.start();
    const write = (n: number) =>
      auth.transaction(async (tx) => {
        const lanes = [entry('a', 0, `${n}`), entry('b', n % 2, `${n}`), entry('a', 0, `${n}'`)];
        await writer.write(tx, n % 2 === 0 ? lanes : lanes.toReversed());
        if (n % 5 === 0) throw new Error('roll back');
      });
    const written = await Promise.allSettled(Array.from({ length: WRITERS }, (_, n) => write(n)));
    const rolledBack = written.flatMap(({ status }, n) => (status === 'rejected' ? [n] : []));
    expect(rolledBack).toEqual([0, 5, 10, 15, 20, 25, 30, 35]);
    await eventually(async () => sent.length >= 96);
    await sender.stop();
    expect(sent).toHaveLength(96);
    for (const lane of ['a/0', 'b/0', 'b/1']) {
      const ofLane = sent.filter(({ topic, partition }) => `${topic}/${partition}` === lane);
      const numbers = ofLane.map(({ headers }) => Number(headers['outbox_seq']));
      expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    }
    expect(sent[0]!.headers).toMatchObject({
      ce_type: 'x.y.v1',
      note: '"ä"',
      outbox_source: 'auth',
    });
    const kept = await auth.query('SELECT count(*) AS n FROM outbox WHERE sent_at IS NOT NULL');
    expect(kept.rows).toEqual([{ n: 96n }]);
  });

  test('an append is bounded in bytes, and a backlog of one lane delays no other', async () => {
    const auth = open('auth');
    const writer = new OutboxWriter();
    const mebibyte = 1024 * 1024;
    const large = (n: number): OutboxRecord => ({
      ...entry('large', 0, `a${n}`),
      value: Buffer.alloc(3 * mebibyte),
    });
    await auth.transaction((tx) =>
      writer.write(tx, [
        ...Array.from({ length: 8 }, (_, n) => large(n)),
        entry('small', 0, 'b0'),
        entry('small', 1, 'b1'),
      ]),
    );
    const appends: OutboxRecord[][] = [];
    const sender = relay(auth, writer, async (records) => void appends.push([...records]));
    sender.start();
    await eventually(async () => appends.flat().length === 10);
    await sender.stop();
    expect(appends[0]!.map(({ key }) => key)).toEqual(['a0', 'b0', 'b1', 'a1', 'a2']);
    expect(
      appends
        .flat()
        .filter(({ topic }) => topic === 'large')
        .map(({ key }) => key),
    ).toEqual(Array.from({ length: 8 }, (_, n) => `a${n}`));
    for (const records of appends) {
      const bytes = records.reduce((sum, { value }) => sum + value.length, 0);
      expect(bytes).toBeLessThan(12 * mebibyte);
    }
  });

  test('of two relays one sends; the other takes over when it stops', async () => {
    const budget = open('budget');
    const writer = new OutboxWriter();
    const sent: string[] = [];
    const named = (name: string) =>
      relay(open('budget'), writer, async (records) => {
        sent.push(...records.map(({ key }) => `${name}:${key}`));
      });
    const [first, second] = [named('first'), named('second')];
    const put = (key: string) => budget.transaction((tx) => writer.write(tx, [entry('c', 0, key)]));
    first.start();
    await put('1');
    await eventually(async () => sent.length === 1);
    second.start();
    await put('2');
    await eventually(async () => sent.length === 2);
    await first.stop();
    await put('3');
    await eventually(async () => sent.length === 3);
    await second.stop();
    expect(sent).toEqual(['first:1', 'first:2', 'second:3']);
  });
});
