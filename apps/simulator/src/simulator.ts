import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { SystemClock, type Clock } from '#libs/kernel';

import { renderModels } from './answer.js';
import { FileBillLog, MemoryBillLog, type BillLog } from './bill-log.js';
import { ChatEndpoint } from './chat-endpoint.js';
import { sendJson } from './http-reply.js';

/** How a simulator is made. */
export interface SimulatorOptions {
  /** Address to listen on. @default '127.0.0.1' */
  readonly host?: string;
  /** TCP port, 0 = any free one. @default 0 */
  readonly port?: number;
  /** File that the log is appended to; null keeps the last 10,000 lines in memory. @default null */
  readonly logFile?: string | null;
  readonly clock?: Clock;
  /** Models listed by `GET /v1/models`; every other name is answered too. */
  readonly models?: readonly string[];
}

/** A running simulator. */
export interface Simulator {
  /** `http://<host>:<port>`, without trailing slash; the API is under `/v1`. */
  readonly url: string;
  /** Stops listening and cuts what is open; safe to call more than once. */
  close(): Promise<void>;
}

const DEFAULT_MODELS = [
  'simulator-mini',
  'simulator-large',
  'fake-in10-out10',
  'fake-in1000-out500',
];

/** Idle time after which a connection is closed, milliseconds; longer than any caller's pool. */
const KEEP_ALIVE_MS = 75_000;

/**
 * Starts an OpenAI-compatible upstream of its own: `POST /v1/chat/completions` plain and streamed,
 * `GET /v1/models`, `GET /simulator/log` with its record of attempts and bills, `GET /health`.
 * @throws Error of the operating system when the port or the log file cannot be had
 */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const { host = '127.0.0.1', port = 0, logFile = null, clock = new SystemClock() } = options;
  const log = logFile === null ? new MemoryBillLog() : new FileBillLog(logFile);
  const models = renderModels(options.models ?? DEFAULT_MODELS);
  const route = routes(new ChatEndpoint(log, clock), log, models);
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS, noDelay: true }, route);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, resolve);
  }).catch((error: unknown) => {
    log.close();
    throw error;
  });
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => {
        log.close();
        resolve();
      });
      server.closeAllConnections();
    });
  const { address, port: bound, family } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`,
    close: () => (closed ??= close()),
  };
}

function routes(chat: ChatEndpoint, log: BillLog, models: string) {
  return (req: IncomingMessage, res: ServerResponse): void => {
    const path = req.url?.split('?', 1)[0] ?? '/';
    switch (`${req.method} ${path}`) {
      case 'POST /v1/chat/completions':
        return chat.handle(req, res);
      case 'GET /v1/models':
        return sendJson(res, 200, models);
      case 'GET /simulator/log':
        return sendJson(res, 200, JSON.stringify({ lines: log.lines() }));
      case 'GET /health':
        return sendJson(res, 200, '{"status":"ok"}');
      default:
        return sendJson(res, 404, JSON.stringify({ error: { message: `no route ${path}` } }));
    }
  };
}
