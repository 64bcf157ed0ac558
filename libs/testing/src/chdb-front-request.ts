import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, zstdDecompress } from 'node:zlib';

/** A request as the engine needs it. */
export interface FrontRequest {
  readonly queryId: string;
  readonly database: string;
  /** Settings, and query parameters as `param_<name>`. */
  readonly settings: ReadonlyMap<string, string>;
  readonly statement: string;
  /** Rows of an INSERT; null when the body was the statement. */
  readonly rows: Buffer | null;
  /** Format of an answer whose statement names none. */
  readonly defaultFormat: string;
  /** The answer is made wholly before its first byte is sent. */
  readonly waitsForEnd: boolean;
  /** Codec of the answer; null = none. */
  readonly answerCodec: 'gzip' | 'zstd' | 'br' | null;
}

/** Largest body, bytes; above any insert of a test. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;

/** Members of a request that the HTTP layer of a server keeps to itself. */
const HTTP_MEMBERS: ReadonlySet<string> = new Set([
  'query',
  'query_id',
  'database',
  'role',
  'user',
  'password',
  'default_format',
  'wait_end_of_query',
  'buffer_size',
  'send_progress_in_http_headers',
  'enable_http_compression',
  'http_zlib_compression_level',
  'http_response_buffer_size',
  'http_headers_progress_interval_ms',
  'http_send_progress_interval_ms',
]);

const DECODERS = {
  gzip: promisify(gunzip),
  zstd: promisify(zstdDecompress),
  br: promisify(brotliDecompress),
};

/**
 * Reads the members of the query string, the multipart form and the body.
 * @param members of the query string; those of a multipart form are added
 * @throws Error in the form of an engine's exception
 */
export async function readFrontRequest(
  request: IncomingMessage,
  members: URLSearchParams,
): Promise<FrontRequest> {
  if (members.has('session_id')) {
    throw new Error('Code: 48. DB::Exception: sessions are not served here. (NOT_IMPLEMENTED)');
  }
  const body = await decoded(request, await bodyOf(request));
  const type = request.headers['content-type'] ?? '';
  const isForm = type.startsWith('multipart/form-data');
  if (isForm) await addForm(members, type, body);
  const inUrl = members.get('query');
  const settings = [...members].filter(([name]) => !HTTP_MEMBERS.has(name));
  return {
    queryId: members.get('query_id') ?? '',
    database: members.get('database') ?? 'default',
    settings: new Map(settings),
    statement: inUrl ?? body.toString('utf8'),
    rows: inUrl === null || isForm ? null : body,
    defaultFormat: members.get('default_format') ?? 'TabSeparated',
    waitsForEnd: members.get('wait_end_of_query') === '1',
    answerCodec: answerCodec(request, members),
  };
}

/** A form carries the statement and its parameters when they are too long for a URL. */
async function addForm(members: URLSearchParams, type: string, body: Buffer): Promise<void> {
  const headers = { 'content-type': type };
  const form = await new Response(new Uint8Array(body), { headers }).formData();
  for (const [name, value] of form) {
    if (typeof value === 'string') members.append(name, value);
  }
}

async function decoded(request: IncomingMessage, body: Buffer): Promise<Buffer> {
  const encoding = request.headers['content-encoding'];
  if (encoding === undefined) return body;
  const decoder = DECODERS[encoding as keyof typeof DECODERS];
  if (decoder === undefined) {
    throw new Error(`Code: 432. DB::Exception: encoding ${encoding}. (UNKNOWN_COMPRESSION_METHOD)`);
  }
  return decoder(body);
}

function answerCodec(
  request: IncomingMessage,
  members: URLSearchParams,
): FrontRequest['answerCodec'] {
  if (members.get('enable_http_compression') !== '1') return null;
  const accepted = String(request.headers['accept-encoding'] ?? '');
  return (['gzip', 'zstd', 'br'] as const).find((codec) => accepted.includes(codec)) ?? null;
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of request) {
    sizeBytes += (chunk as Buffer).length;
    if (sizeBytes > MAX_BODY_BYTES) {
      throw new Error('Code: 131. DB::Exception: too large for a test. (TOO_LARGE_STRING_SIZE)');
    }
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}
