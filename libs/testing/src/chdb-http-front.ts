import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { createChdbConnection, type ChdbConnection } from 'chdb/connection';

import { messageOf } from '#libs/kernel';

import { chdbDirectory } from './chdb-directory.js';

/** Members of a request's query that are not settings of the engine. */
const NOT_SETTINGS: ReadonlySet<string> = new Set([
  'query',
  'query_id',
  'database',
  'session_id',
  'role',
  'wait_end_of_query',
  'enable_http_compression',
  'default_format',
]);

/** Largest request, bytes; above any insert of a test. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;

/** A stand-in for a ClickHouse server. */
export interface ChdbHttpFront {
  readonly url: string;
  readonly close: () => Promise<void>;
}

/**
 * Serves the embedded engine of this process over ClickHouse's HTTP interface, so that the adapters
 * run against a server where none is at hand. Like a server it keeps nothing between requests: each
 * has a session of its own. Bodies in multipart form are not understood.
 * @source ClickHouse documentation, "HTTP Interface"
 */
export async function openChdbHttpFront(): Promise<ChdbHttpFront> {
  const dataDir = chdbDirectory();
  // Keeps the data directory open between requests.
  const keeper = createChdbConnection({ path: dataDir });
  const server = createServer((request, response) => {
    void answer(dataDir, request, response);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
      await keeper.close();
    },
  };
}

async function answer(
  dataDir: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://front');
  if (pathname === '/ping') {
    response.end('Ok.\n');
    return;
  }
  const session = createChdbConnection({ path: dataDir });
  try {
    const body = await bodyOf(request);
    const result = await run(session, searchParams, body);
    response.setHeader('x-clickhouse-query-id', searchParams.get('query_id') ?? '');
    response.setHeader('x-clickhouse-summary', '{}');
    response.end(result);
  } catch (error) {
    const text = messageOf(error);
    response.statusCode = 500;
    response.setHeader('x-clickhouse-exception-code', /^Code: (\d+)/.exec(text)?.[1] ?? '1002');
    response.end(text);
  } finally {
    await session.close();
  }
}

async function run(
  session: ChdbConnection,
  members: URLSearchParams,
  body: string,
): Promise<Uint8Array> {
  const database = members.get('database');
  if (database !== null) await session.chdb.queryAsync(`USE ${database}`);
  for (const [name, value] of members) {
    if (NOT_SETTINGS.has(name)) continue;
    await session.chdb.queryAsync(`SET ${name} = ${literal(value)}`);
  }
  const statement = members.get('query');
  const sql = statement === null ? body : `${statement}\n${body}`;
  return (await session.chdb.queryAsync(sql)).bytes();
}

function literal(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of request) {
    sizeBytes += (chunk as Buffer).length;
    if (sizeBytes > MAX_BODY_BYTES) throw new Error('the request is too large for a test');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}
