import type { Server } from 'node:http';

import type { DynamicModule, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { LogController, type FastifyInstance, type FastifyRequest } from 'fastify';

import { UuidV7Generator } from '#libs/kernel';
import type { Runtime } from '#libs/platform/telemetry';

import { answerClientError } from './client-error.js';
import { PathErrorFilter, sendError } from './error.filters.js';
import { noRoute } from './http-errors.js';
import { NestPinoLogger } from './nest-logger.js';
import { registerOperationalRoutes, type OperationalOptions } from './operational.routes.js';
import { gateRequest } from './request-gate.js';
import { RouteTable } from './route-table.js';
import { parseStrictJson } from './strict-json.js';

/** Largest body of any route, bytes. */
const BODY_LIMIT_BYTES = 10 * 1024 * 1024;
/** Largest head of a request, bytes. */
const HEADER_LIMIT_BYTES = 16_384;
/** Longest time for the head of a request, milliseconds. */
const HEADERS_TIMEOUT_MS = 15_000;
/** Longest time for the body of a request, milliseconds. */
const REQUEST_TIMEOUT_MS = 60_000;
/** Pause between two looks for connections that fell idle during shutdown, milliseconds. */
const IDLE_SWEEP_MS = 50;
/** Longest time for the answers under way once a process closes, milliseconds; then they are cut. */
const CLOSE_TIMEOUT_MS = 60_000;
/**
 * Longest silence on a connection whose request is being answered, milliseconds; above the 16 minutes
 * that an answer of a provider may take.
 */
const SOCKET_TIMEOUT_MS = 1_200_000;
/** How long an idle connection is kept, milliseconds. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000;

/**
 * Builds the HTTP application of a process around its module: request ids, one error dialect per
 * route, strict JSON bodies, health and metrics. It does not listen yet.
 */
export async function createHttpApp(
  module: Type | DynamicModule,
  runtime: Runtime,
  options: OperationalOptions,
): Promise<NestFastifyApplication> {
  const ids = new UuidV7Generator(runtime.clock, runtime.random);
  const newId = (): string => `req-${ids.nextHex()}`;
  const adapter = new DialectAdapter({
    bodyLimit: BODY_LIMIT_BYTES,
    genReqId: newId,
    clientErrorHandler: (error, socket) => answerClientError(error, socket, newId()),
    requestIdHeader: false,
    trustProxy: false,
    forceCloseConnections: 'idle',
    connectionTimeout: SOCKET_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    http: { maxHeaderSize: HEADER_LIMIT_BYTES, headersTimeout: HEADERS_TIMEOUT_MS },
    loggerInstance: runtime.logger,
    logController: new LogController({ disableRequestLogging: true }),
  });
  prepare(adapter.getInstance() as unknown as FastifyInstance, runtime, options);
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter, {
    bodyParser: false,
    logger: new NestPinoLogger(runtime.logger),
    abortOnError: false,
  });
  app.useGlobalFilters(new PathErrorFilter());
  return app;
}

/** Leaves the handlers for errors and unknown routes as `prepare` set them, in place of Nest's. */
class DialectAdapter extends FastifyAdapter {
  override setErrorHandler(): ReturnType<FastifyAdapter['setErrorHandler']> {
    return this.instance as unknown as ReturnType<FastifyAdapter['setErrorHandler']>;
  }
  override setNotFoundHandler(): ReturnType<FastifyAdapter['setNotFoundHandler']> {
    return this.instance as unknown as ReturnType<FastifyAdapter['setNotFoundHandler']>;
  }
}

function prepare(fastify: FastifyInstance, runtime: Runtime, options: OperationalOptions): void {
  const routes = new RouteTable();
  fastify.addHook('onRoute', (route) => routes.add(route.url));
  // With a callback: a promise for each request would cost more than the gate itself.
  fastify.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id);
    done(gateRequest(request.raw) ?? undefined);
  });
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser(
    'application/json',
    { parseAs: 'string' },
    async (_request: FastifyRequest, body: string) =>
      body === '' ? undefined : parseStrictJson(body),
  );
  fastify.addHook('preClose', async () => closeAsTheyFallIdle(fastify.server));
  fastify.setErrorHandler((error, request, reply) => sendError(request, reply, error));
  fastify.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0]!;
    sendError(request, reply, noRoute(request.method, routes.has(path)));
  });
  registerOperationalRoutes(fastify, runtime, options);
}

/**
 * Closes each connection once its answer is out. A server that closes lets busy connections finish,
 * but would then wait for their keep-alive to run out, and for ever for a client that does not read.
 */
function closeAsTheyFallIdle(server: Server): void {
  const sweep = setInterval(() => server.closeIdleConnections(), IDLE_SWEEP_MS);
  const patience = setTimeout(() => server.closeAllConnections(), CLOSE_TIMEOUT_MS);
  server.once('close', () => {
    clearInterval(sweep);
    clearTimeout(patience);
  });
}
