import { Catch, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';

import { dialectOfPath, renderError, type Dialect } from './dialects.js';
import { asAppError } from './http-errors.js';

/** Sends an error in the dialect of its route; internal ones are logged with their cause. */
export function sendError(
  request: FastifyRequest,
  reply: FastifyReply,
  error: unknown,
  dialect: Dialect = dialectOfPath(request.url),
): void {
  const appError = asAppError(error);
  if (appError.kind === 'internal') {
    request.log.error({ code: appError.code, err: appError }, appError.message);
  }
  const rendered = renderError(dialect, appError, request.id);
  void reply.code(rendered.status).type(rendered.contentType).send(rendered.body);
}

class DialectErrorFilter implements ExceptionFilter {
  constructor(private readonly dialect: Dialect | undefined) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const reply = http.getResponse<FastifyReply>();
    sendError(http.getRequest<FastifyRequest>(), reply, error, this.dialect);
  }
}

/** Errors of controllers whose routes speak the fastapi dialect: `{"detail": ...}`, 422. */
@Catch()
export class FastapiErrorFilter extends DialectErrorFilter {
  constructor() {
    super('fastapi');
  }
}

/** Errors of controllers whose routes speak the gin dialect: `{"error": ...}`, 400. */
@Catch()
export class GinErrorFilter extends DialectErrorFilter {
  constructor() {
    super('gin');
  }
}

/** Errors of controllers whose routes speak problem+json. @source RFC 9457 */
@Catch()
export class ProblemErrorFilter extends DialectErrorFilter {
  constructor() {
    super('problem');
  }
}

/** Errors outside any bound filter: the dialect follows from the path. */
@Catch()
export class PathErrorFilter extends DialectErrorFilter {
  constructor() {
    super(undefined);
  }
}
