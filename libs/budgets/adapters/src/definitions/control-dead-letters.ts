import type { Transaction } from '#libs/platform/postgres';

/** A record that can never be read, as it came. */
export interface UnreadableRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: Uint8Array;
}

/** Parks a record with its raw bytes in schema `auth`, once per offset. */
export async function parkRecord(
  tx: Transaction,
  record: UnreadableRecord,
  reason: string,
): Promise<void> {
  await tx.query(
    `INSERT INTO dead_letter (topic, partition, log_offset, reason, key, headers, body)
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
    [
      record.topic,
      record.partition,
      record.offset,
      reason,
      record.key,
      JSON.stringify(record.headers),
      Buffer.from(record.value),
    ],
  );
}
