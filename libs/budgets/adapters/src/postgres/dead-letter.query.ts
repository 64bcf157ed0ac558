import type { Queryable } from '#libs/platform/postgres';

/** A record that could not be understood. */
export interface DeadLetter {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: Uint8Array;
  /** For operators; never raw data of the record. */
  readonly reason: string;
}

/** Keeps records with their raw bytes, in the transaction that moves on past them. Idempotent. */
export async function keepDeadLetters(
  tx: Queryable,
  letters: readonly DeadLetter[],
): Promise<void> {
  if (letters.length === 0) return;
  await tx.query(
    `INSERT INTO dead_letter (topic, partition, "offset", reason, headers, body)
     SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::text[], $5::jsonb[], $6::bytea[])
     ON CONFLICT (topic, partition, "offset") DO NOTHING`,
    [
      letters.map((each) => each.topic),
      letters.map((each) => each.partition),
      letters.map((each) => each.offset),
      letters.map((each) => each.reason),
      letters.map((each) => JSON.stringify(each.headers)),
      letters.map((each) => Buffer.from(each.value)),
    ],
  );
}
