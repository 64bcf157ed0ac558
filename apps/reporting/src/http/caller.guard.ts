import { Inject, Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';

import { AppError, Clock } from '#libs/kernel';
import { KeyDirectory, keyDigests, statusOfKey, type Peppers } from '#libs/keys/core';
import { hasSecret } from '#libs/platform/http';

/** Who asks for figures: the operator sees everything of an organisation, a key its own rows. */
export type UsageCaller =
  | { readonly kind: 'operator'; readonly orgId: string }
  | { readonly kind: 'key'; readonly orgId: string; readonly keyId: string };

/** What callers are recognised by. */
export interface CallerCredentials {
  /** null = the operator's scheme is disabled. */
  readonly adminApiKey: string | null;
  readonly orgId: string;
  readonly peppers: Peppers;
}

/** Injection token of `CallerCredentials`. */
export const CALLER_CREDENTIALS = Symbol('caller credentials');

const callers = new WeakMap<FastifyRequest, UsageCaller>();

/** The caller that the guard found. @throws AppError `usage.unauthenticated` on an unguarded route */
export function callerOf(request: FastifyRequest): UsageCaller {
  const caller = callers.get(request);
  if (caller === undefined) throw unauthenticated();
  return caller;
}

/**
 * Finds out who asks. A key whose budget is spent, or that was revoked, still reads its own rows; a
 * deleted, disabled or expired one does not.
 */
@Injectable()
export class CallerGuard implements CanActivate {
  constructor(
    @Inject(CALLER_CREDENTIALS) private readonly credentials: CallerCredentials,
    private readonly keys: KeyDirectory,
    private readonly clock: Clock,
  ) {}

  /** @throws AppError `usage.unauthenticated` */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const http = context.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const caller = await this.recognise(request);
    if (caller === null) {
      http.getResponse<FastifyReply>().header('www-authenticate', 'Bearer');
      throw unauthenticated();
    }
    callers.set(request, caller);
    return true;
  }

  private async recognise(request: FastifyRequest): Promise<UsageCaller | null> {
    const { authorization } = request.headers;
    const { adminApiKey, orgId } = this.credentials;
    if (hasSecret(authorization, ['ADMIN', 'Bearer'], adminApiKey)) {
      return { kind: 'operator', orgId };
    }
    const presented = presentedKey(authorization, request.headers['x-api-key']);
    return presented === null ? null : this.keyCaller(presented);
  }

  private async keyCaller(presented: string): Promise<UsageCaller | null> {
    const record = await this.keys.findByDigest(keyDigests(this.credentials.peppers, presented));
    if (record === null || record.orgId !== this.credentials.orgId) return null;
    const status = statusOfKey({ ...record, blocked: record.block !== null }, this.clock.nowMs());
    if (status === 'inactive' || status === 'expired') return null;
    return { kind: 'key', orgId: record.orgId, keyId: record.keyId };
  }
}

/** `Authorization` goes before `x-api-key`; the two are never merged. */
function presentedKey(
  authorization: string | undefined,
  apiKey: string | readonly string[] | undefined,
): string | null {
  if (authorization !== undefined) {
    return /^(?:bearer|apikey) +(\S+) *$/i.exec(authorization)?.[1] ?? null;
  }
  return typeof apiKey === 'string' && apiKey !== '' ? apiKey : null;
}

function unauthenticated(): AppError {
  return new AppError({
    code: 'usage.unauthenticated',
    kind: 'unauthenticated',
    publicMessage: 'Invalid or missing API key',
  });
}
