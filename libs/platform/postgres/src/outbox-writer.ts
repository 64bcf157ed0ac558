import type { Transaction } from './database.js';

/** A record that a service publishes together with a change of its own tables. */
export interface OutboxRecord {
  readonly topic: string;
  readonly partition: number;
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: Uint8Array;
}

/**
 * One statement: lanes are taken in sorted order, so two writers cannot deadlock, and their rows
 * stay locked until commit, so the order of `seq` is the order of commits and leaves no gap.
 */
const WRITE = {
  name: 'outbox_write',
  text: `
WITH input AS (
  SELECT i.*, row_number() OVER (PARTITION BY topic, lane ORDER BY ord) AS nth
  FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::bytea[])
       WITH ORDINALITY AS i(topic, lane, type, key, headers, body, ord)
), counts AS (
  SELECT topic, lane, count(*) AS n FROM input GROUP BY topic, lane ORDER BY topic, lane
), lanes AS (
  INSERT INTO outbox_lane AS l (topic, lane, next_seq)
  SELECT topic, lane, 1 + n FROM counts
  ON CONFLICT (topic, lane) DO UPDATE SET next_seq = l.next_seq + excluded.next_seq - 1
  RETURNING topic, lane, next_seq
)
INSERT INTO outbox (topic, lane, seq, type, key, headers, body)
SELECT i.topic, i.lane, l.next_seq - c.n + i.nth - 1, i.type, i.key, i.headers, i.body
FROM input i JOIN counts c USING (topic, lane) JOIN lanes l USING (topic, lane)`,
};

/** Writes records into a service's outbox; an `OutboxRelay` sends them after the commit. */
export class OutboxWriter {
  private readonly listeners = new Set<() => void>();

  /**
   * Adds records in the given order per topic and partition. They exist exactly when `tx` commits.
   * Any number of transactions may write at once; those on one lane wait for each other.
   */
  async write(tx: Transaction, records: readonly OutboxRecord[]): Promise<void> {
    if (records.length === 0) return;
    await tx.query(WRITE, [
      records.map((record) => record.topic),
      records.map((record) => record.partition),
      records.map((record) => record.headers['ce_type'] ?? ''),
      records.map((record) => record.key),
      records.map((record) => JSON.stringify(record.headers)),
      records.map((record) => Buffer.from(record.value)),
    ]);
    tx.afterCommit(() => {
      for (const listener of this.listeners) listener();
    });
  }

  /**
   * Calls the listener after every commit that wrote records in this process.
   * @returns a function that takes the listener off
   */
  onCommit(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
