import type { AppliedThrough } from '#libs/budgets/core';
import type { UsageRatedV1 } from '#libs/events';
import { AppError } from '#libs/kernel';
import type { Queryable } from '#libs/platform/postgres';

import { parseUsageRated } from '../rated-message.js';

/** A rated batch as received. */
export interface RatedMessage {
  readonly rated: UsageRatedV1;
  /** The record's value, kept when the message has to be parked. */
  readonly value: Uint8Array;
}

/** What was settled of one source partition, locked, with what is parked behind a hole. */
export interface SourceSequence extends AppliedThrough {
  readonly topic: string;
  readonly partition: number;
  /** Ascending by first offset. */
  readonly parked: readonly RatedMessage[];
}

/** Messages that may wait behind one hole; about four minutes of a busy partition. */
const MAX_PARKED = 1_000;

/**
 * Locks the sequence of a source partition; the first call makes it, expecting offset 0.
 * @param messages of that partition, at least one
 */
export async function lockSequence(
  tx: Queryable,
  messages: readonly RatedMessage[],
): Promise<SourceSequence> {
  const { topic, partition } = messages[0]!.rated.source;
  const { rows } = await tx.query<{ next_offset: bigint; pruned_below: bigint }>(
    `INSERT INTO applied_through AS t (topic, partition, next_offset) VALUES ($1, $2, 0)
     ON CONFLICT (topic, partition) DO UPDATE SET next_offset = t.next_offset
     RETURNING next_offset, pruned_below`,
    [topic, partition],
  );
  const parked = await tx.query<{ body: Buffer }>(
    'SELECT body FROM parked_batch WHERE topic = $1 AND partition = $2 ORDER BY first',
    [topic, partition],
  );
  const applied = await tx.query<{ batch_id: string }>(
    'SELECT batch_id FROM applied_batch WHERE batch_id = ANY ($1::text[])',
    [messages.map(({ rated }) => rated.batch_id)],
  );
  const ids = new Set(applied.rows.map((row) => row.batch_id));
  return {
    topic,
    partition,
    nextOffset: rows[0]!.next_offset,
    prunedBelow: rows[0]!.pruned_below,
    isApplied: (batchId) => ids.has(batchId),
    parked: parked.rows.map(({ body }) => ({ rated: parseUsageRated(body), value: body })),
  };
}

/** Notes batches as applied, takes them out of the parking place and moves the sequence on. */
export async function saveApplied(
  tx: Queryable,
  sequence: SourceSequence,
  messages: readonly RatedMessage[],
): Promise<void> {
  const last = messages.at(-1);
  if (last === undefined) return;
  const ids = messages.map(({ rated }) => rated.batch_id);
  await tx.query(
    `INSERT INTO applied_batch (batch_id, topic, partition, first, last)
     SELECT id, $1, $2, first, last
     FROM unnest($3::text[], $4::bigint[], $5::bigint[]) AS n (id, first, last)`,
    [
      sequence.topic,
      sequence.partition,
      ids,
      messages.map(({ rated }) => rated.source.first),
      messages.map(({ rated }) => rated.source.last),
    ],
  );
  await tx.query('DELETE FROM parked_batch WHERE batch_id = ANY ($1::text[])', [ids]);
  await tx.query(
    'UPDATE applied_through SET next_offset = $3 WHERE topic = $1 AND partition = $2',
    [sequence.topic, sequence.partition, BigInt(last.rated.source.last) + 1n],
  );
}

/**
 * Keeps messages that are ahead of a hole; those already parked stay as they are.
 * @throws AppError `budget.rated_gap` when the parking place is full
 */
export async function park(
  tx: Queryable,
  sequence: SourceSequence,
  messages: readonly RatedMessage[],
): Promise<void> {
  if (messages.length === 0) return;
  if (messages.length > MAX_PARKED) throw gap(sequence);
  await tx.query(
    `INSERT INTO parked_batch (batch_id, topic, partition, first, last, body)
     SELECT id, $1, $2, first, last, body
     FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bytea[]) AS n (id, first, last, body)
     ON CONFLICT (batch_id) DO NOTHING`,
    [
      sequence.topic,
      sequence.partition,
      messages.map(({ rated }) => rated.batch_id),
      messages.map(({ rated }) => rated.source.first),
      messages.map(({ rated }) => rated.source.last),
      messages.map(({ value }) => Buffer.from(value)),
    ],
  );
}

function gap({ topic, partition, nextOffset }: SourceSequence): AppError {
  return new AppError({
    code: 'budget.rated_gap',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `the rated batch of ${topic}/${partition} from ${nextOffset} on is missing`,
    details: { topic, partition },
  });
}
