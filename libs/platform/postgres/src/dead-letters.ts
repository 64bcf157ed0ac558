import type { Queryable, Transaction } from './database.js';

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

// Where another record has the offset, the log has lost the end in which the former one stood.
const KEEP = {
  name: 'dead_letter_keep',
  text: `INSERT INTO dead_letter AS former
           (topic, partition, "offset", class, error, key, headers, payload, booked)
         SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[],
                              $6::bytea[], $7::bytea[], $8::bytea[], $9::boolean[])
         ON CONFLICT (topic, partition, "offset") DO UPDATE
         SET class = excluded.class, error = excluded.error, key = excluded.key,
             headers = excluded.headers, payload = excluded.payload, booked = excluded.booked,
             state = excluded.state, created_at = excluded.created_at
         WHERE (former.key, former.headers, former.payload)
           IS DISTINCT FROM (excluded.key, excluded.headers, excluded.payload)`,
};

/**
 * Parks records with their raw bytes in the table `dead_letter` of the service's schema, in the
 * transaction that moves on past them; one row per offset. A repeat of the same record changes nothing;
 * another record at the offset takes the place of the former.
 * @param letters of different offsets
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

/** Which record a letter holds. */
export interface DeadLetterPlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}

/** What became of a letter. */
export type DeadLetterState = 'parked' | 'retried' | 'discarded';

/** A letter as a list shows it. */
export interface ListedDeadLetter extends DeadLetterPlace {
  readonly faultClass: string;
  readonly error: string;
  readonly booked: boolean;
  readonly state: DeadLetterState;
  readonly parkedAtMs: number;
  /** Length of the value. */
  readonly bytes: number;
}

/** A letter with the record as it came. */
export interface StoredDeadLetter extends ListedDeadLetter {
  readonly key: Buffer;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: Buffer;
}

/** Which letters are listed, by topic, partition and offset. */
export interface DeadLetterQuestion {
  /** null = all. */
  readonly state: DeadLetterState | null;
  readonly topic: string | null;
  /** Only those behind this one. */
  readonly after: DeadLetterPlace | null;
  readonly limit: number;
}

interface LetterRow extends Record<string, unknown> {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly class: string;
  readonly error: string;
  readonly booked: boolean;
  readonly state: DeadLetterState;
  readonly created_at: Date;
  readonly bytes: number;
}

const LISTED =
  'topic, partition, "offset", class, error, booked, state, created_at, octet_length(payload) AS bytes';

function fromRow(row: LetterRow): ListedDeadLetter {
  return {
    topic: row.topic,
    partition: row.partition,
    offset: row.offset,
    faultClass: row.class,
    error: row.error,
    booked: row.booked,
    state: row.state,
    parkedAtMs: row.created_at.getTime(),
    bytes: row.bytes,
  };
}

/** Letters of the service's schema in order of topic, partition and offset. */
export async function listDeadLetters(
  db: Queryable,
  { state, topic, after, limit }: DeadLetterQuestion,
): Promise<readonly ListedDeadLetter[]> {
  const { rows } = await db.query<LetterRow>(
    `SELECT ${LISTED} FROM dead_letter
     WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR topic = $2)
       AND ($3::text IS NULL OR (topic, partition, "offset") > ($3, $4::integer, $5::bigint))
     ORDER BY topic, partition, "offset" LIMIT $6`,
    [state, topic, after?.topic ?? null, after?.partition ?? null, after?.offset ?? null, limit],
  );
  return rows.map(fromRow);
}

/**
 * One letter with its raw bytes; in a transaction it is locked until the end of it.
 * @returns null when there is none
 */
export async function readDeadLetter(
  db: Queryable,
  { topic, partition, offset }: DeadLetterPlace,
): Promise<StoredDeadLetter | null> {
  const { rows } = await db.query<
    LetterRow & { readonly key: Buffer; readonly headers: Buffer; readonly payload: Buffer }
  >(
    `SELECT ${LISTED}, key, headers, payload FROM dead_letter
     WHERE topic = $1 AND partition = $2 AND "offset" = $3 FOR UPDATE`,
    [topic, partition, offset],
  );
  const row = rows[0];
  if (row === undefined) return null;
  const headers = JSON.parse(row.headers.toString()) as Record<string, string>;
  return { ...fromRow(row), key: row.key, headers, value: row.payload };
}

/** Notes that a letter was put right, in the transaction that does so. */
export async function markDeadLetterRetried(
  tx: Transaction,
  { topic, partition, offset }: DeadLetterPlace,
): Promise<void> {
  await tx.query(
    `UPDATE dead_letter SET state = 'retried'
     WHERE topic = $1 AND partition = $2 AND "offset" = $3`,
    [topic, partition, offset],
  );
}

/** How long a letter that was dealt with is kept, days from its parking; as long as a log keeps records. */
const KEEP_DAYS = 30;

/**
 * Deletes letters that were retried or discarded and are older than 30 days. One that still waits for
 * somebody stays, however old. A record that comes from the log once more is parked once more, and
 * retrying it changes nothing. Safe to run anywhere, any time.
 * @param most rows of this call
 * @returns how many went
 */
export async function pruneDeadLetters(db: Queryable, most: number): Promise<number> {
  const { rowCount } = await db.query(
    `DELETE FROM dead_letter WHERE (topic, partition, "offset") IN (
       SELECT topic, partition, "offset" FROM dead_letter
       WHERE state <> 'parked' AND created_at < now() - make_interval(days => $1)
       LIMIT $2 FOR UPDATE SKIP LOCKED)`,
    [KEEP_DAYS, most],
  );
  return rowCount;
}
