import { Inject, Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';

import { AppError } from '#libs/kernel';
import { hasSecret } from '#libs/platform/http';

/** The operator secret, as a provider; null = the routes refuse everyone. */
export const OPERATOR_SECRET = Symbol('OPERATOR_SECRET');

/** Lets the operator in and nobody else. */
@Injectable()
export class OperatorGuard implements CanActivate {
  constructor(@Inject(OPERATOR_SECRET) private readonly secret: string | null) {}

  /** @throws AppError `operator.unauthenticated` */
  canActivate(context: ExecutionContext): boolean {
    const http = context.switchToHttp();
    const { authorization } = http.getRequest<FastifyRequest>().headers;
    if (hasSecret(authorization, ['ADMIN', 'Bearer'], this.secret)) return true;
    http.getResponse<FastifyReply>().header('www-authenticate', 'Bearer');
    throw new AppError({
      code: 'operator.unauthenticated',
      kind: 'unauthenticated',
      publicMessage: 'Invalid or missing operator credential',
    });
  }
}
