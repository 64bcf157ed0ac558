import { createHash, timingSafeEqual } from 'node:crypto';

import type { FastifyInstance } from 'fastify';

import { AppError } from '#libs/kernel';

import { decodeRpc, encodeRpc, toRpcFailure } from './rpc-codec.js';
import type { RpcServices } from './rpc.js';

/** Largest call, bytes; batches of holds are the largest and stay far below. */
const BODY_LIMIT_BYTES = 4 * 1024 * 1024;

const STATUS_OF_KIND = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  exhausted: 429,
  unavailable: 503,
  internal: 500,
} as const;

/**
 * Serves the ports of this process to other services.
 * @param secret `SERVICE_SECRET`; a call without it is refused with 401
 */
export function registerRpcRoutes(
  fastify: FastifyInstance,
  services: RpcServices,
  secret: string,
): void {
  const expected = digest(`SERVICE ${secret}`);
  void fastify.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(
      'application/json',
      { parseAs: 'string', bodyLimit: BODY_LIMIT_BYTES },
      (_request, body, done) => done(null, body),
    );
    scope.post<{ Params: { service: string; method: string } }>(
      '/internal/rpc/:service/:method',
      async (request, reply) => {
        const given = digest(request.headers.authorization ?? '');
        const answer = timingSafeEqual(given, expected)
          ? await answerOf(services, request.params, request.body as string)
          : refusal();
        return reply.code(answer.status).type('application/json').send(answer.body);
      },
    );
  });
}

interface RpcAnswer {
  readonly status: number;
  readonly body: string;
}

async function answerOf(
  services: RpcServices,
  { service, method }: { service: string; method: string },
  body: string,
): Promise<RpcAnswer> {
  try {
    const args = decodeRpc(body);
    if (!Array.isArray(args)) throw new TypeError('the body is not an array of arguments');
    return { status: 200, body: encodeRpc(await services.find(service, method)(args)) };
  } catch (error) {
    const failure = toRpcFailure(error);
    return { status: STATUS_OF_KIND[failure.kind], body: JSON.stringify(failure) };
  }
}

function refusal(): RpcAnswer {
  const failure = toRpcFailure(
    new AppError({
      code: 'rpc.unauthenticated',
      kind: 'unauthenticated',
      publicMessage: 'a service credential is required',
    }),
  );
  return { status: 401, body: JSON.stringify(failure) };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
