import type { IncomingMessage, ServerResponse } from 'node:http';

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

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
    scope.post('/v1/chat/completions', { onRequest: taking(handlers.chat) }, neverReached);
    const models = { exposeHeadRoute: false, onRequest: taking(handlers.models) };
    scope.get('/v1/models', models, neverReached);
  });
}

/** A route's first hook that takes the request over: what follows in the server is for parsed bodies. */
function taking(handler: RawHandler) {
  // A callback never called ends the server's own way of the request here.
  return (request: FastifyRequest, reply: FastifyReply, _done: () => void): void => {
    reply.hijack();
    void handler.handle(request.raw, reply.raw, request.id);
  };
}

async function neverReached(): Promise<void> {}
