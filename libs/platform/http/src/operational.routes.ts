import type { FastifyInstance, FastifyRequest } from 'fastify';

import { AppError } from '#libs/kernel';
import type { Runtime } from '#libs/platform/telemetry';

import { hasSecret } from './operator-credential.js';

/** What the operational routes need to know. */
export interface OperationalOptions {
  /** Shown by `/health`. */
  readonly serviceName: string;
  /** The operator secret; null = the scheme is disabled. */
  readonly adminApiKey: string | null;
  /** A secret that opens `/metrics` alone; null = none. */
  readonly metricsToken: string | null;
}

/** Serves `/health`, `/healthz`, `/health/live`, `/health/ready` and `/metrics`. */
export function registerOperationalRoutes(
  fastify: FastifyInstance,
  runtime: Runtime,
  options: OperationalOptions,
): void {
  const healthy = { status: 'healthy', service: options.serviceName };
  fastify.get('/health', async () => healthy);
  fastify.get('/healthz', async () => healthy);
  fastify.get('/health/live', async () => ({ status: 'live' }));
  fastify.get('/health/ready', async (_request, reply) => {
    const { ready, checks } = await runtime.health.readiness();
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'not_ready', checks });
  });
  fastify.get('/metrics', async (request, reply) => {
    if (!mayReadMetrics(request, options)) throw closed();
    return reply.type(runtime.metrics.contentType).send(await runtime.metrics.metrics());
  });
}

function mayReadMetrics(request: FastifyRequest, options: OperationalOptions): boolean {
  const { authorization } = request.headers;
  return (
    isLoopback(request.ip) ||
    hasSecret(authorization, ['Bearer'], options.metricsToken) ||
    hasSecret(authorization, ['ADMIN', 'Bearer'], options.adminApiKey)
  );
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address);
}

function closed(): AppError {
  return new AppError({
    code: 'http.unauthenticated',
    kind: 'unauthenticated',
    publicMessage: 'metrics need the operator credential or METRICS_TOKEN',
  });
}
