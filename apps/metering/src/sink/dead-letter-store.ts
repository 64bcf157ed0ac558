import type { Transaction } from '#libs/platform/postgres';

import type { DeadLetter } from '../domain/plan-batch.js';

/** Parks records with their raw bytes; one row per offset, a repeat changes nothing. */
export async function storeDeadLetters(
  tx: Transaction,
  letters: readonly DeadLetter[],
): Promise<void> {
  for (const { record, faultClass, error, booked } of letters) {
    await tx.query(
      `INSERT INTO dead_letter (topic, partition, "offset", class, error, headers, payload, booked)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
      [
        record.topic,
        record.partition,
        record.offset,
        faultClass,
        error,
        Buffer.from(JSON.stringify(record.headers)),
        Buffer.from(record.value),
        booked,
      ],
    );
  }
}
