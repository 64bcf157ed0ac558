import {
  Inject,
  Injectable,
  type CanActivate,
  type ExecutionContext,
  type Type,
} from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

import { AUTH_OPTIONS, type AuthOptions } from '../auth-options.js';
import { callerOf, type CallerRules } from './caller.js';

/** A guard that refuses callers before their input is looked at. @param assert throws to refuse */
export function accessGuard(
  assert: (request: FastifyRequest, options: AuthOptions) => void,
): Type<CanActivate> {
  @Injectable()
  class AccessGuard implements CanActivate {
    constructor(@Inject(AUTH_OPTIONS) private readonly options: AuthOptions) {}

    canActivate(context: ExecutionContext): boolean {
      assert(context.switchToHttp().getRequest<FastifyRequest>(), this.options);
      return true;
    }
  }
  return AccessGuard;
}

/** A guard of routes that read callers by these rules. */
export function callerGuard(rules: CallerRules): Type<CanActivate> {
  return accessGuard((request, options) => void callerOf(request, options, rules));
}
