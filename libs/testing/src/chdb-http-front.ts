/**
 * A stand-in for a ClickHouse server where none is at hand: the embedded engine behind ClickHouse's
 * HTTP interface, so that the server's path of the adapters, and faults on it (a connection cut
 * inside a body, a server killed during an insert), run in tests on a bare machine. It is for tests
 * and benchmarks alone.
 *
 * It speaks what `@clickhouse/client` sends: statements in body, query string or multipart form,
 * `param_*`, settings that end with their request, compression (gzip, zstd, br) both ways, answers in
 * one piece or in parts, `X-ClickHouse-Summary`, exceptions in headers, body and stream, query ids,
 * `KILL QUERY WHERE query_id = ... SYNC` and `system.processes`. It does not speak: users, sessions by
 * id, binary insert formats, progress headers. A killed query that the engine already runs is not
 * ended but waited for.
 * @source ClickHouse documentation, "HTTP Interface"
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Writable } from 'node:stream';
import { createBrotliCompress, createGzip, createZstdCompress } from 'node:zlib';

import type { RawInsertFormat, Session } from 'chdb';

import { messageOf } from '#libs/kernel';

import { chdbDirectory } from './chdb-directory.js';
import { ChdbFrontQueries } from './chdb-front-queries.js';
import { readFrontRequest, type FrontRequest } from './chdb-front-request.js';
import { ChdbFrontSessions } from './chdb-front-sessions.js';

/** Where a front listens and keeps its data. */
export interface ChdbHttpFrontOptions {
  /** A process has one data directory of the engine. @default the one of the process's tests */
  readonly dataDir?: string;
  /** On the loopback interface. @default a free one */
  readonly port?: number;
}

/** A stand-in for a ClickHouse server. */
export interface ChdbHttpFront {
  readonly url: string;
  readonly close: () => Promise<void>;
}

interface Front {
  readonly sessions: ChdbFrontSessions;
  readonly queries: ChdbFrontQueries;
}

/** What the last line of a stream that broke off is marked with. */
const EXCEPTION_TAG = 'tollgatetestfront';
/** Statements that would change the session for the next request. */
const LEAVES_TRACES = /^\s*(SET|USE|CREATE\s+TEMPORARY)\b/i;
const READS = /^\s*(SELECT|WITH)\b/i;
const INSERT = /^\s*INSERT\s+INTO\s+([\w.]+)\s*(?:\(([\w\s,]+)\))?\s*FORMAT\s+(\w+)\s*$/i;
/** Insert formats that the engine takes as bytes. */
const RAW_FORMATS: readonly string[] = [
  'JSONEachRow',
  'JSONCompactEachRow',
  'CSV',
  'CSVWithNames',
  'TabSeparated',
  'TabSeparatedWithNames',
];
const ENCODERS = { gzip: createGzip, zstd: createZstdCompress, br: createBrotliCompress };
/** Status of the more telling exceptions; 500 of all others. */
const STATUS: Readonly<Record<string, number>> = { 60: 404, 81: 404, 62: 400, 216: 400, 48: 501 };

/** Serves the embedded engine of this process over HTTP. */
export async function openChdbHttpFront(
  options: ChdbHttpFrontOptions = {},
): Promise<ChdbHttpFront> {
  const front: Front = {
    sessions: new ChdbFrontSessions(options.dataDir ?? chdbDirectory()),
    queries: new ChdbFrontQueries(),
  };
  const server = createServer((request, response) => {
    void answer(front, request, response);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close: () => close(server, front) };
}

async function close(server: Server, front: Front): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  front.sessions.close();
}

async function answer(
  front: Front,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://front');
  if (pathname === '/ping' || (request.method === 'GET' && !searchParams.has('query'))) {
    response.end('Ok.\n');
    return;
  }
  const queryId = searchParams.get('query_id') ?? '';
  response.setHeader('x-clickhouse-query-id', queryId);
  response.setHeader('x-clickhouse-timezone', 'UTC');
  try {
    // A request that is killed while it still arrives is cut off, as its sender will see.
    const cancel = (): void => void (request.complete || request.destroy());
    await front.queries.track(queryId, cancel, async () => {
      await run(front, await readFrontRequest(request, searchParams), response);
    });
  } catch (error) {
    refuse(response, messageOf(error));
  }
}

async function run(front: Front, request: FrontRequest, response: ServerResponse): Promise<void> {
  const { sessions, queries } = front;
  const killed = await queries.kill(request.statement, request.settings);
  if (killed !== null) {
    response.end(killed);
    return;
  }
  const leavesTraces = LEAVES_TRACES.test(request.statement) || request.settings.has('readonly');
  await sessions.use(request, leavesTraces, async (session) => {
    if (request.rows !== null && request.rows.length === 0) return send(response, request, NOTHING);
    const insert = request.rows === null ? null : INSERT.exec(request.statement);
    if (insert !== null && RAW_FORMATS.includes(insert[3]!)) {
      const { rowsWritten, bytesWritten } = await session.insert({
        table: insert[1]!,
        ...(insert[2] === undefined ? {} : { columns: insert[2].split(',').map((c) => c.trim()) }),
        values: request.rows!,
        format: insert[3] as RawInsertFormat,
      });
      return send(response, request, { ...NOTHING, rowsWritten, bytesWritten });
    }
    const rows = request.rows === null ? '' : `\n${request.rows.toString('utf8')}`;
    const sql = `${queries.withProcesses(request.statement)}${rows}`;
    if (!request.waitsForEnd && rows === '' && READS.test(sql)) {
      return stream(response, request, session, sql);
    }
    const result = await session.queryAsync(sql, { format: request.defaultFormat });
    const { rowsRead, bytesRead } = result;
    return send(response, request, { ...NOTHING, rowsRead, bytesRead, bytes: result.bytes() });
  });
}

interface Outcome {
  readonly rowsRead: number;
  readonly bytesRead: number;
  readonly rowsWritten: number;
  readonly bytesWritten: number;
  readonly bytes: Uint8Array;
}

const NOTHING: Outcome = {
  rowsRead: 0,
  bytesRead: 0,
  rowsWritten: 0,
  bytesWritten: 0,
  bytes: new Uint8Array(),
};

async function send(
  response: ServerResponse,
  request: FrontRequest,
  outcome: Outcome,
): Promise<void> {
  const summary = {
    read_rows: String(outcome.rowsRead),
    read_bytes: String(outcome.bytesRead),
    written_rows: String(outcome.rowsWritten),
    written_bytes: String(outcome.bytesWritten),
    total_rows_to_read: '0',
    result_rows: String(outcome.rowsRead + outcome.rowsWritten),
    result_bytes: String(outcome.bytes.length),
  };
  response.setHeader('x-clickhouse-summary', JSON.stringify(summary));
  encoded(response, request).end(outcome.bytes);
}

/** Sends parts as the engine makes them; what goes wrong after the first is told inside the stream. */
async function stream(
  response: ServerResponse,
  request: FrontRequest,
  session: Session,
  sql: string,
): Promise<void> {
  const parts = session.queryStream(sql, { format: request.defaultFormat })[Symbol.asyncIterator]();
  const first = await parts.next();
  response.setHeader('x-clickhouse-exception-tag', EXCEPTION_TAG);
  response.setHeader('x-clickhouse-summary', '{}');
  const out = encoded(response, request);
  try {
    for (let part = first; part.done !== true; part = await parts.next()) {
      if (!out.write(part.value.raw())) await Promise.race([once(out, 'drain'), closed(response)]);
      if (response.destroyed) break;
    }
    out.end();
  } catch (error) {
    const text = `${messageOf(error)}\n`;
    const mark = `__exception__\r\n`;
    out.end(
      `\r\n${mark}${EXCEPTION_TAG}\r\n${text}${Buffer.byteLength(text)} ${EXCEPTION_TAG}\r\n${mark}`,
    );
  } finally {
    await parts.return?.();
  }
}

function closed(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    response.once('close', resolve);
  });
}

function encoded(response: ServerResponse, { answerCodec }: FrontRequest): Writable {
  if (answerCodec === null) return response;
  response.setHeader('content-encoding', answerCodec);
  const encoder = ENCODERS[answerCodec]();
  encoder.pipe(response);
  return encoder;
}

function refuse(response: ServerResponse, text: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const code = /^Code: (\d+)/.exec(text)?.[1] ?? '1002';
  response.statusCode = STATUS[code] ?? 500;
  response.setHeader('x-clickhouse-exception-code', code);
  response.end(text);
}
