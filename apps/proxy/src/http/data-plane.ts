import type { IncomingMessage, ServerResponse } from 'node:http';

import type { FastifyInstance, FastifyRequest } from 'fastify';

/** What serves one route on the bare request and response. */
export interface RawHandler {
  handle(req: IncomingMessage, res: ServerResponse, wireId: string): Promise<void>;
}

/** The handlers of the data plane. */
export interface DataPlaneHandlers {
  readonly chat: RawHandler;
  readonly models: RawHandler;
}

/**
 * Registers the data plane in a scope of its own: bodies are left unread for the handlers, answers are
 * written to the bare response, and nothing of it reaches other routes. The server's `genReqId` must
 * give `req-` + 32 hex digits of a UUIDv7.
 */
export function registerDataPlane(fastify: FastifyInstance, handlers: DataPlaneHandlers): void {
  void fastify.register(async (scope) => {
    // A logger per request is made for nothing here: handlers log through the process's own.
    scope.setChildLoggerFactory((logger) => logger);
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request: FastifyRequest, _payload, done) => done(null));
    scope.post('/v1/chat/completions', (request, reply) => {
      reply.hijack();
      void handlers.chat.handle(request.raw, reply.raw, request.id);
    });
    scope.get('/v1/models', { exposeHeadRoute: false }, (request, reply) => {
      reply.hijack();
      void handlers.models.handle(request.raw, reply.raw, request.id);
    });
  });
}
