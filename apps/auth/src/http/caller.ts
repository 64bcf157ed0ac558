import { createHash, timingSafeEqual } from 'node:crypto';

import type { FastifyRequest } from 'fastify';

import type { AppError } from '#libs/kernel';
import { hasSecret } from '#libs/platform/http';

import type { AuthOptions } from '../auth-options.js';

/** Who asks, as far as the control-plane routes care. */
export interface Caller {
  readonly isOperator: boolean;
  /** The user who asks, or for whom the operator acts; null = the operator alone, who reaches all. */
  readonly userId: string | null;
  /** As the audit trail shows it. */
  readonly actor: string;
}

/** How a family of routes reads credentials. */
export interface CallerRules {
  /** Schemes under which the operator secret is taken. */
  readonly schemes: readonly string[];
  /** The refusal of everybody else. */
  readonly refusal: () => AppError;
}

/** A user id: 1 to 255 printable characters without surrounding blanks. */
const USER_ID_PATTERN = /^[^\p{C}\s](?:[^\p{C}]{0,253}[^\p{C}\s])?$/u;

/**
 * The caller of a request. An `Authorization` header decides when it is there; otherwise a believed
 * `X-User-ID` does. Credentials are never merged, except that the operator may act for a user.
 * @throws the rules' refusal
 */
export function callerOf(
  request: FastifyRequest,
  options: AuthOptions,
  rules: CallerRules,
): Caller {
  const { authorization } = request.headers;
  const userId = userIdOf(request, rules);
  if (authorization !== undefined) {
    if (!hasSecret(authorization, rules.schemes, options.adminApiKey)) throw rules.refusal();
    const actor = userId === null ? 'operator' : `operator for ${userId}`;
    return { isOperator: true, userId, actor };
  }
  if (userId === null || !isBelieved(request, options)) throw rules.refusal();
  return { isOperator: false, userId, actor: `user ${userId}` };
}

function userIdOf(request: FastifyRequest, rules: CallerRules): string | null {
  const header = request.headers['x-user-id'];
  if (header === undefined) return null;
  if (typeof header !== 'string' || !USER_ID_PATTERN.test(header)) throw rules.refusal();
  return header;
}

function isBelieved(request: FastifyRequest, options: AuthOptions): boolean {
  if (options.trustUserIdHeader) return true;
  const presented = request.headers['x-tollgate-proxy-secret'];
  const { trustedProxySecret } = options;
  if (trustedProxySecret === null || typeof presented !== 'string') return false;
  return timingSafeEqual(digest(presented), digest(trustedProxySecret));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
