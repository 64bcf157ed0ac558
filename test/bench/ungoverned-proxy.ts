/**
 * The proxy without what governs: the same HTTP application and the same way to the upstream, bytes
 * passed through as they come; no key, price, hold, journal or event. It exists only to be compared
 * with, so it is assembled here and nowhere in the product.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import type { DynamicModule } from '@nestjs/common';
import type { FastifyInstance } from 'fastify';

import { createHttpApp } from '#libs/platform/http';
import { createRuntime } from '#libs/platform/telemetry';
import { UndiciTransport } from '#libs/providers/adapters';
import type { UpstreamCall, UpstreamHandler, UpstreamHeaders } from '#libs/providers/core';

const PATH = '/v1/chat/completions';
/** As the proxy waits, milliseconds. */
const TIMEOUTS = { headTimeoutMs: 900_000, idleTimeoutMs: 60_000 } as const;

class UngovernedModule {}

/** Serves until the process ends; prints where it listens. @param upstream its origin */
export async function serveUngoverned(upstream: string): Promise<void> {
  const runtime = createRuntime({ service: 'proxy', partitions: 1, logLevel: 'warn' });
  const module: DynamicModule = { module: UngovernedModule };
  const app = await createHttpApp(module, runtime, {
    serviceName: 'ungoverned',
    adminApiKey: null,
    metricsToken: null,
  });
  const transport = new UndiciTransport();
  const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  void fastify.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
    scope.post(PATH, (request, reply) => {
      reply.hijack();
      forward(transport, upstream, request.raw, reply.raw, request.id);
    });
  });
  await app.init();
  await app.listen(0, '127.0.0.1');
  process.stdout.write(`ungoverned listening on ${await app.getUrl()}\n`);
}

function forward(
  transport: UndiciTransport,
  origin: string,
  req: IncomingMessage,
  res: ServerResponse,
  wireId: string,
): void {
  const { authorization = '' } = req.headers;
  const chunks: Buffer[] = [];
  req.on('data', (chunk: Buffer) => chunks.push(chunk));
  req.on('end', () => {
    const passing = new Passing(res);
    passing.call = transport.dispatch(
      {
        origin,
        path: PATH,
        headers: [
          'content-type',
          'application/json',
          'authorization',
          authorization,
          'x-client-request-id',
          wireId,
        ],
        body: chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks),
        ...TIMEOUTS,
      },
      passing,
    );
  });
}

/** Hands an answer on: a stream as it comes, a plain one in one write, as the proxy does. */
class Passing implements UpstreamHandler {
  call: UpstreamCall | null = null;
  private isStream = false;
  private status = 0;
  private headers: UpstreamHeaders = {};
  private readonly chunks: Buffer[] = [];

  constructor(private readonly res: ServerResponse) {}

  onHead(status: number, headers: UpstreamHeaders): void {
    this.status = status;
    this.headers = headers;
    const type = String(headers['content-type']);
    this.isStream = type.startsWith('text/event-stream');
    if (this.isStream) this.res.writeHead(status, ['content-type', type]);
  }

  onData(chunk: Buffer): boolean {
    if (!this.isStream) {
      this.chunks.push(chunk);
      return true;
    }
    if (this.res.write(chunk)) return true;
    this.res.once('drain', () => this.call?.resume());
    return false;
  }

  onEnd(): void {
    if (this.isStream) return void this.res.end();
    const body = this.chunks.length === 1 ? this.chunks[0]! : Buffer.concat(this.chunks);
    const type = String(this.headers['content-type']);
    const length = String(body.length);
    this.res.writeHead(this.status, ['content-type', type, 'content-length', length]);
    this.res.end(body);
  }

  onFailure(): void {
    this.res.destroy();
  }
}
