import type { Transaction } from './database.js';

/** A record that a consumer can never read. */
export interface DeadLetter {
  /** As it was read. */
  readonly record: {
    readonly topic: string;
    readonly partition: number;
    readonly offset: bigint;
    readonly key: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly value: Uint8Array;
  };
  /** Short class of the fault. */
  readonly faultClass: string;
  /** Names the fault, never content of the record. */
  readonly error: string;
  /** Whether a row at the hold is booked in its place. */
  readonly booked: boolean;
}

const KEEP = {
  name: 'dead_letter_keep',
  text: `INSERT INTO dead_letter
           (topic, partition, "offset", class, error, key, headers, payload, booked)
         SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[],
                              $6::bytea[], $7::bytea[], $8::bytea[], $9::boolean[])
         ON CONFLICT DO NOTHING`,
};

/**
 * Parks records with their raw bytes in the table `dead_letter` of the service's schema, in the
 * transaction that moves on past them; one row per offset, a repeat changes nothing.
 */
export async function keepDeadLetters(
  tx: Transaction,
  letters: readonly DeadLetter[],
): Promise<void> {
  if (letters.length === 0) return;
  const records = letters.map(({ record }) => record);
  await tx.query(KEEP, [
    records.map(({ topic }) => topic),
    records.map(({ partition }) => partition),
    records.map(({ offset }) => offset),
    letters.map(({ faultClass }) => faultClass),
    letters.map(({ error }) => error),
    records.map(({ key }) => Buffer.from(key)),
    records.map(({ headers }) => Buffer.from(JSON.stringify(headers))),
    records.map(({ value }) => Buffer.from(value)),
    letters.map(({ booked }) => booked),
  ]);
}
