import type { AppliedThrough } from '#libs/budgets/core';
import type { UsageRatedV1 } from '#libs/events';
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

/** Notes batches as applied and moves the sequence on. */
export async function saveApplied(
  tx: Queryable,
  sequence: SourceSequence,
  messages: readonly RatedMessage[],
): Promise<void> {
  const last = messages.at(-1);
  if (last === undefined) return;
  const ids = messages.map(idOf);
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
  await tx.query(
    'UPDATE applied_through SET next_offset = $3 WHERE topic = $1 AND partition = $2',
    [sequence.topic, sequence.partition, BigInt(last.rated.source.last) + 1n],
  );
}

/**
 * Keeps messages that are ahead of a hole. When more than 1,000 wait, the first of them are kept, and the
 * last one, which shows that something is missing: those between are asked for like the missing one
 * once the hole has moved up to them. Stopping there instead would be for ever, because what fills a
 * hole comes behind them in the log.
 * @param messages all that wait, ascending by first offset
 */
export async function park(
  tx: Queryable,
  sequence: SourceSequence,
  messages: readonly RatedMessage[],
): Promise<void> {
  const kept =
    messages.length <= MAX_PARKED
      ? messages
      : [...messages.slice(0, MAX_PARKED - 1), messages.at(-1)!];
  const parked = new Set(sequence.parked.map(idOf));
  const fresh = kept.filter((message) => !parked.has(idOf(message)));
  for (const message of kept) parked.delete(idOf(message));
  if (parked.size > 0) await unpark(tx, [...parked]);
  if (fresh.length === 0) return;
  await tx.query(
    `INSERT INTO parked_batch (batch_id, topic, partition, first, last, body)
     SELECT id, $1, $2, first, last, body
     FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bytea[]) AS n (id, first, last, body)
     ON CONFLICT (batch_id) DO NOTHING`,
    [
      sequence.topic,
      sequence.partition,
      fresh.map(idOf),
      fresh.map(({ rated }) => rated.source.first),
      fresh.map(({ rated }) => rated.source.last),
      fresh.map(({ value }) => Buffer.from(value)),
    ],
  );
}

async function unpark(tx: Queryable, batchIds: readonly string[]): Promise<void> {
  await tx.query('DELETE FROM parked_batch WHERE batch_id = ANY ($1::text[])', [batchIds]);
}

function idOf({ rated }: RatedMessage): string {
  return rated.batch_id;
}
