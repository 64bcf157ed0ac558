import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { eventually, startTestClickHouse, type TestClickHouse } from '#libs/testing';

/** One form of numbers, whatever the version's default. */
const QUOTED = { output_format_json_quote_64bit_integers: 1 } as const;

const SILENT = { level: ClickHouseLogLevel.OFF };

let server: TestClickHouse;
let client: ClickHouseClient;

beforeAll(async () => {
  server = await startTestClickHouse({ isOwn: true });
  client = createClient({ url: server.url, clickhouse_settings: QUOTED, log: SILENT });
  await client.command({
    query: `CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n
            SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1,
            fsync_part_directory = 1`,
  });
});
afterAll(async () => {
  await client.close();
  await server.stop();
});

async function one<T>(query: string, params: Record<string, unknown> = {}): Promise<T | undefined> {
  const result = await client.query({ query, format: 'JSONEachRow', query_params: params });
  return (await result.json<T>())[0];
}

const insert = (n: number, settings = {}) =>
  client.insert({
    table: 't',
    values: [{ n, s: 'a' }],
    format: 'JSONEachRow',
    clickhouse_settings: settings,
  });

test('parameters arrive as they are, in the query string and in a form', async () => {
  const text = `it's a "tab\t", a line\nand a \\`;
  expect(await one('SELECT {x:String} AS x', { x: text })).toEqual({ x: text });
  const list = Array.from({ length: 2_000 }, (_, index) => `value ${index}`);
  const forms = createClient({
    url: server.url,
    use_multipart_params_auto: true,
    clickhouse_settings: QUOTED,
  });
  const result = await forms.query({
    query: 'SELECT length({list:Array(String)}) AS n, {list:Array(String)}[2000] AS last',
    format: 'JSONEachRow',
    query_params: { list },
  });
  expect(await result.json()).toEqual([{ n: '2000', last: 'value 1999' }]);
  await forms.close();
});

test('a setting ends with the request that sent it', async () => {
  const asked = "SELECT toString(getSetting('max_threads')) AS threads";
  const clickhouse_settings = { max_threads: 3 };
  const result = await client.query({ query: asked, format: 'JSONEachRow', clickhouse_settings });
  expect(await result.json()).toEqual([{ threads: '3' }]);
  expect(await one(asked)).not.toEqual({ threads: '3' });
  await client.command({ query: 'SET max_threads = 3' });
  expect(await one(asked)).not.toEqual({ threads: '3' });
});

test.each(['gzip', 'zstd', 'br'] as const)('bodies may be packed with %s', async (codec) => {
  const packing = createClient({
    url: server.url,
    compression: { request: { codec }, response: { codec } } as never,
  });
  await packing.insert({ table: 't', values: [{ n: 100, s: codec }], format: 'JSONEachRow' });
  const query = `SELECT s FROM t WHERE n = 100 AND s = '${codec}'`;
  const result = await packing.query({ query, format: 'JSONEachRow' });
  expect(await result.json()).toEqual([{ s: codec }]);
  await packing.close();
});

test('an insert says how many rows it wrote, and stores nothing when its token is known', async () => {
  const token = { insert_deduplication_token: 'first' };
  expect((await insert(1, token)).summary).toMatchObject({ written_rows: '1' });
  await insert(2, token);
  expect(await one('SELECT count() AS rows FROM t WHERE n = 2')).toEqual({ rows: '0' });
});

test('a failure has the code and type of the engine', async () => {
  await expect(one('SELECT * FROM nowhere')).rejects.toMatchObject({
    code: '60',
    type: 'UNKNOWN_TABLE',
  });
  await expect(one('SELEC 1')).rejects.toMatchObject({ code: '62', type: 'SYNTAX_ERROR' });
});

test('an answer that breaks off after its first part says why', async () => {
  const result = await client.query({
    query: 'SELECT throwIf(number = 1000000) AS n FROM numbers(1000001)',
    format: 'JSONEachRow',
    clickhouse_settings: { max_threads: 1, max_block_size: '1000' },
  });
  await expect(result.json()).rejects.toMatchObject({ code: '395' });
});

test('ending a query by its id waits until it is over', async () => {
  const slow = client.command({ query: 'SELECT sleep(3)', query_id: 'slow' });
  let isOver = false;
  void slow.then(() => (isOver = true));
  const seen = "SELECT count() AS rows FROM system.processes WHERE query_id = 'slow'";
  await eventually(async () => (await one<{ rows: string }>(seen))?.rows === '1');
  await expect(client.command({ query: 'SELECT 1', query_id: 'slow' })).rejects.toMatchObject({
    code: '216',
  });
  await client.command({
    query: 'KILL QUERY WHERE query_id = {queryId:String} SYNC',
    query_params: { queryId: 'slow' },
  });
  await slow;
  expect(isOver).toBe(true);
  expect(await one(seen)).toEqual({ rows: '0' });
});

test('what was answered is there after kill -9, and a token stays known', async () => {
  await insert(7, { insert_deduplication_token: 'seventh' });
  const dying = insert(8, { insert_deduplication_token: 'eighth' }).then(
    () => true,
    () => false,
  );
  await server.process!.kill();
  await server.process!.start();
  const wasAnswered = await dying;
  await insert(7, { insert_deduplication_token: 'seventh' });
  expect(await one('SELECT count() AS rows FROM t WHERE n = 7')).toEqual({ rows: '1' });
  const eight = await one<{ rows: string }>('SELECT count() AS rows FROM t WHERE n = 8');
  if (wasAnswered) expect(eight).toEqual({ rows: '1' });
});
