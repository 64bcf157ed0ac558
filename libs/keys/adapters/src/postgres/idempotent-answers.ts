import { LessThanOrEqual, type EntityManager } from 'typeorm';

import type { EntityTransaction, Queryable } from '#libs/platform/postgres';

import { IdempotentAnswerEntity } from './idempotent-answer.entity.js';

/** Whose request it is: one caller, one route, one `Idempotency-Key`. */
export type IdempotentRequest = Pick<IdempotentAnswerEntity, 'caller' | 'route' | 'key'>;

/** How long an answer is kept, milliseconds. */
const KEPT_MS = 86_400_000;

/** Answers kept for repeats, 24 h each. */
export class IdempotentAnswers {
  constructor(private readonly manager: () => EntityManager) {}

  /** The kept answer of a request; null when it is new or older than 24 h. */
  async find(request: IdempotentRequest, nowMs: number): Promise<IdempotentAnswerEntity | null> {
    const { caller, route, key } = request;
    const row = await this.manager().findOneBy(IdempotentAnswerEntity, { caller, route, key });
    return row !== null && nowMs - row.createdAtMs < KEPT_MS ? row : null;
  }

  /**
   * Keeps an answer in the transaction of its effects, so that both exist or neither; it takes the
   * place of one that has had its time.
   * @throws a unique violation when the same request is being answered at the same time
   */
  async keep(tx: EntityTransaction, answer: IdempotentAnswerEntity): Promise<void> {
    const { caller, route, key, createdAtMs } = answer;
    await tx.manager.delete(IdempotentAnswerEntity, {
      caller,
      route,
      key,
      createdAtMs: LessThanOrEqual(createdAtMs - KEPT_MS),
    });
    await tx.manager.insert(IdempotentAnswerEntity, answer);
  }
}

/**
 * Deletes answers that are older than 24 h, the oldest first. Safe to run anywhere, any time.
 * @param most rows of this call
 * @returns how many went
 */
export async function pruneIdempotentAnswers(
  db: Queryable,
  nowMs: number,
  most: number,
): Promise<number> {
  const { rowCount } = await db.query(
    `DELETE FROM idempotent_answer WHERE (caller, route, key) IN (
       SELECT caller, route, key FROM idempotent_answer
       WHERE created_at <= to_timestamp($1::float8 / 1000)
       ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
    [nowMs - KEPT_MS, most],
  );
  return rowCount;
}
