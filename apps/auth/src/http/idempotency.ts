import { createHash } from 'node:crypto';

import type { FastifyReply, FastifyRequest } from 'fastify';

import type { Clock } from '#libs/kernel';
import type { IdempotentAnswers, IdempotentRequest } from '#libs/keys/adapters';
import { invalidInput } from '#libs/platform/http';
import { isUniqueViolation, type EntityTransaction } from '#libs/platform/postgres';

import { idempotencyInProgress, idempotencyMismatch } from '../errors.js';

/** An answer of a route that mints a secret. */
export interface SecretAnswer {
  readonly status: number;
  /** The body with its secret, and the same with null in its place. */
  readonly body: (secret: string | null) => object;
}

/** Keeps the answer of the running request in the transaction of its effects. */
export type KeepAnswer = (tx: EntityTransaction, answer: SecretAnswer) => Promise<void>;

/**
 * Answers a request with an `Idempotency-Key` once: a repeat within 24 h gets the kept answer, with
 * the secret replaced by null and `Idempotent-Replayed: true`.
 */
export class IdempotentRoutes {
  constructor(
    private readonly answers: IdempotentAnswers,
    private readonly clock: Clock,
  ) {}

  /**
   * @param run does the work, and keeps its answer in its transaction
   * @returns the body to send; JSON text for a replay
   * @throws AppError `input.idempotency_mismatch`, `input.idempotency_in_progress`
   */
  async answer(
    request: FastifyRequest,
    reply: FastifyReply,
    caller: string,
    run: (keep: KeepAnswer) => Promise<object>,
  ): Promise<object | string> {
    const asked = requestOf(request, caller);
    if (asked === null) return run(async () => undefined);
    const bodyDigest = digestOf(request.body);
    const kept = await this.answers.find(asked, this.clock.nowMs());
    if (kept !== null) {
      if (kept.bodyDigest !== bodyDigest) throw idempotencyMismatch();
      reply.code(kept.status).header('idempotent-replayed', 'true');
      reply.type('application/json; charset=utf-8');
      return kept.answer;
    }
    try {
      return await run((tx, { status, body }) => {
        const answer = JSON.stringify(body(null));
        const createdAtMs = this.clock.nowMs();
        return this.answers.keep(tx, { ...asked, bodyDigest, status, answer, createdAtMs });
      });
    } catch (error) {
      if (isUniqueViolation(error)) throw idempotencyInProgress();
      throw error;
    }
  }
}

function requestOf(request: FastifyRequest, caller: string): IdempotentRequest | null {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return null;
  if (typeof key !== 'string' || key.length === 0 || key.length > 255) {
    const message = 'must have 1 to 255 characters';
    throw invalidInput([{ in: 'header', path: ['Idempotency-Key'], message, type: 'length' }]);
  }
  return { caller, key, route: `${request.method} ${request.url.split('?', 1)[0]!}` };
}

function digestOf(body: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(body ?? null))
    .digest('hex');
}
