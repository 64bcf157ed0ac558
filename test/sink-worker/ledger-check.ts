/**
 * An independent judge of what the sink left behind: it reads the log, PostgreSQL and ClickHouse by
 * plain SQL and shares no code with the product.
 */
import { Pool } from 'pg';

/** Runs a statement on ClickHouse; 64-bit integers and decimals come as text. */
export type AskLedger = (sql: string) => Promise<readonly object[]>;

/** A record of the topic, as its own bytes say. */
export interface TopicRecord {
  readonly partition: number;
  readonly offset: bigint;
  readonly eventId: string;
  readonly lane: number;
  readonly sequence: bigint;
  readonly chargePusd: bigint;
}

/** Where the records of the topic come from. */
export interface TopicReader {
  /** Records of all partitions from these offsets on, to the end of the topic as it is now. */
  readFrom(offsets: ReadonlyMap<number, bigint>): Promise<readonly TopicRecord[]>;
  close(): Promise<void>;
}

/** What is wrong; all zero when every record is one row and every batch was told once. */
export interface LedgerFaults {
  /** Records of the topic without a row. */
  readonly lost: number;
  /** Rows beyond the first of a record, and rows of no record. */
  readonly doubled: number;
  /** Charges in the ledger less charges in the topic, pico-dollars. */
  readonly imbalancePusd: bigint;
  /** Plans that are not DONE, holes or overlaps between plans, offsets that are not their ends. */
  readonly plans: number;
  /** Batches without a `usage.rated`, or with more than one. */
  readonly rated: number;
  /** Charges told to the budgets less charges in the topic, pico-dollars. */
  readonly ratedImbalancePusd: bigint;
}

/** Whether nothing is wrong. */
export function isFaultless(faults: LedgerFaults): boolean {
  return Object.values(faults).every((value) => BigInt(value) === 0n);
}

const TOPIC = 'request.completed';

/** Judges again and again as the topic grows; old rows are judged by their sums, new ones one by one. */
export class LedgerCheck {
  private readonly pool: Pool;
  private readonly nextOffsets = new Map<number, bigint>();
  private records = 0;
  private chargePusd = 0n;
  private ratedSeqs = new Map<number, bigint>();
  private ratedBatches = 0;
  private ratedPusd = 0n;

  constructor(
    databaseUrl: string,
    private readonly topic: TopicReader,
    private readonly ask: AskLedger,
    /** `<database>.<table>` of the rows. */
    private readonly table: string,
  ) {
    this.pool = new Pool({ connectionString: databaseUrl, max: 2 });
  }

  async close(): Promise<void> {
    await this.pool.end();
    await this.topic.close();
  }

  /** Records in the topic so far, as far as it was judged. */
  get recordsJudged(): number {
    return this.records;
  }

  /** To be called when the sink is at rest. */
  async judge(): Promise<LedgerFaults> {
    const fresh = await this.topic.readFrom(this.nextOffsets);
    for (const { partition, offset, chargePusd } of fresh) {
      const expected = this.nextOffsets.get(partition) ?? 0n;
      if (offset !== expected) throw new Error(`the topic has a hole at ${partition}/${expected}`);
      this.nextOffsets.set(partition, offset + 1n);
      this.chargePusd += chargePusd;
    }
    this.records += fresh.length;
    const totals = (await this.ask(
      `SELECT count() AS row_count, uniqExact(event_id) AS ids, sum(charge_usd) AS usd FROM ${this.table}`,
    )) as { row_count: string; ids: string; usd: string }[];
    const { row_count: rows, ids, usd } = totals[0]!;
    const { missing, surplus } = await this.compare(fresh);
    const rated = await this.rated();
    return {
      lost: Math.max(missing, this.records - Number(ids)),
      doubled: Math.max(surplus, Number(rows) - Number(ids)),
      imbalancePusd: pico(usd) - this.chargePusd,
      plans: await this.faultyPlans(),
      rated,
      ratedImbalancePusd: this.ratedPusd - this.chargePusd,
    };
  }

  /** New records and new rows, id by id. */
  private async compare(
    fresh: readonly TopicRecord[],
  ): Promise<{ readonly missing: number; readonly surplus: number }> {
    const wanted = new Set(fresh.map(({ eventId }) => eventId));
    const conditions = [...Map.groupBy(fresh, ({ lane }) => lane)].map(([lane, records]) => {
      const first = records.reduce(
        (least, { sequence }) => (sequence < least ? sequence : least),
        records[0]!.sequence,
      );
      return `(lane = ${lane} AND emitter_seq >= ${first})`;
    });
    if (conditions.length === 0) return { missing: 0, surplus: 0 };
    const found = (await this.ask(
      `SELECT toString(event_id) AS id, count() AS row_count FROM ${this.table} ` +
        `WHERE ${conditions.join(' OR ')} GROUP BY id`,
    )) as { id: string; row_count: string }[];
    let surplus = 0;
    for (const { id, row_count: rows } of found) {
      surplus += wanted.delete(id) ? Number(rows) - 1 : Number(rows);
    }
    return { missing: wanted.size, surplus };
  }

  private async faultyPlans(): Promise<number> {
    const { rows } = await this.pool.query<{ faults: string }>(
      `WITH plans AS (
         SELECT *, lag(last_offset) OVER (PARTITION BY partition ORDER BY first_offset) AS before
         FROM metering.sink_plan WHERE topic = $1
       ), ends AS (
         SELECT partition, max(last_offset) + 1 AS next FROM plans GROUP BY partition
       )
       SELECT (SELECT count(*) FROM plans
                WHERE state <> 'DONE' OR first_offset <> coalesce(before + 1, 0))
            + (SELECT count(*) FROM ends JOIN metering.log_position p
                 ON p.topic = $1 AND p.partition = ends.partition
                WHERE p.next_offset <> ends.next) AS faults`,
      [TOPIC],
    );
    const ends = await this.pool.query<{ partition: number; next_offset: string }>(
      'SELECT partition, next_offset FROM metering.log_position WHERE topic = $1',
      [TOPIC],
    );
    const behind = ends.rows.filter(
      ({ partition, next_offset: next }) =>
        (this.nextOffsets.get(partition) ?? 0n) !== BigInt(next),
    );
    return Number(rows[0]!.faults) + behind.length;
  }

  /** Batches that were not told exactly once; adds up what the new messages say. */
  private async rated(): Promise<number> {
    const last = [...this.ratedSeqs].map(([lane, seq]) => `WHEN ${lane} THEN ${seq}`).join(' ');
    const since = last === '' ? '0' : `CASE lane ${last} ELSE 0 END`;
    const fresh = await this.pool.query<{ lane: number; seq: string; body: Buffer }>(
      `SELECT lane, seq, body FROM metering.outbox
        WHERE topic = 'usage.rated' AND seq > ${since} ORDER BY lane, seq`,
    );
    for (const { lane, seq, body } of fresh.rows) {
      const message = JSON.parse(body.toString()) as {
        subjects: { scope: string; charge_pusd: string }[];
      };
      for (const subject of message.subjects) {
        if (subject.scope === 'key') this.ratedPusd += BigInt(subject.charge_pusd);
      }
      this.ratedSeqs.set(lane, BigInt(seq));
      this.ratedBatches += 1;
    }
    const { rows } = await this.pool.query<{ batches: string; told: string }>(
      `SELECT (SELECT count(*) FROM metering.sink_plan WHERE topic = $1) AS batches,
              (SELECT count(DISTINCT key) FROM metering.outbox WHERE topic = 'usage.rated') AS told`,
      [TOPIC],
    );
    const { batches, told } = rows[0]!;
    return Math.abs(Number(batches) - Number(told)) + (this.ratedBatches - Number(told));
  }
}

/** Pico-dollars of a decimal dollar text. */
function pico(usd: string): bigint {
  const [whole = '0', fraction = ''] = usd.replace('-', '').split('.');
  const digits = BigInt(whole + fraction.padEnd(12, '0').slice(0, 12));
  return usd.startsWith('-') ? -digits : digits;
}

/** The topic in PostgreSQL, read from its table. */
export class PostgresTopic implements TopicReader {
  private readonly pool: Pool;

  constructor(databaseUrl: string) {
    this.pool = new Pool({ connectionString: databaseUrl, max: 1 });
  }

  async readFrom(offsets: ReadonlyMap<number, bigint>): Promise<readonly TopicRecord[]> {
    const from = [...offsets]
      .map(([partition, next]) => `WHEN ${partition} THEN ${next}`)
      .join(' ');
    const since = from === '' ? '0' : `CASE p.partition ${from} ELSE 0 END`;
    const { rows } = await this.pool.query<{
      partition: number;
      offset: string;
      headers: string;
      value: Buffer;
    }>(
      `SELECT p.partition, r."offset", r.headers, r.value
         FROM event_log.log_record r JOIN event_log.log_partition p USING (partition_id)
        WHERE p.topic = $1 AND r."offset" >= ${since} ORDER BY p.partition, r."offset"`,
      [TOPIC],
    );
    return rows.map(({ partition, offset, headers, value }) =>
      topicRecord(partition, BigInt(offset), JSON.parse(headers), value),
    );
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}

/** What a record says of itself. */
export function topicRecord(
  partition: number,
  offset: bigint,
  headers: Readonly<Record<string, string>>,
  value: Buffer,
): TopicRecord {
  const event = JSON.parse(value.toString()) as { event_id: string; charge_pusd: string };
  return {
    partition,
    offset,
    eventId: event.event_id,
    lane: Number(headers['ce_lane']),
    sequence: BigInt(headers['ce_sequence'] ?? '0'),
    chargePusd: BigInt(event.charge_pusd),
  };
}
