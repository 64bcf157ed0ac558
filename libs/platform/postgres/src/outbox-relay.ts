import { AppError, backoffMs, delay, failpoint, messageOf, type Random } from '#libs/kernel';
import type { Logger } from 'pino';
import type { Database, Session } from './database.js';
import type { OutboxRecord, OutboxWriter } from './outbox-writer.js';

/** How an outbox is relayed. */
export interface OutboxRelayOptions {
  readonly database: Database;
  /** The service that owns the outbox; sent along as header `outbox_source`. */
  readonly service: string;
  readonly writer: OutboxWriter;
  /**
   * Makes records durable in the event log, in order; a rejection is tried again for ever. At most
   * 1,000 records a call, and 8 MiB of values besides the last.
   */
  readonly append: (records: readonly OutboxRecord[]) => Promise<void>;
  readonly random: Random;
  readonly logger: Pick<Logger, 'warn'>;
  /** Pause between looks when nothing wakes the relay, milliseconds. @default 250 */
  readonly pollMs?: number;
}

/** A row of `outbox` as it is read. */
export interface OutboxRow {
  readonly topic: string;
  readonly lane: number;
  readonly seq: bigint;
  readonly key: string;
  readonly headers: string;
  readonly body: Buffer;
}

/** Advisory lock space of relays; the second half of the key names the schema. */
const RELAY_LOCK_SPACE = 1_869_968_504;
/** Rows of one lane per round. */
const LANE_ROWS = 500;
/** Rows of one round over all lanes. */
const ROUND_ROWS = 1_000;
/** Bytes of bodies after which a round takes no further row; what a round holds in memory. */
const ROUND_BYTES = 8 * 1024 * 1024;
/** Pause before another try to become the relay, milliseconds. */
const STANDBY_MS = 1_000;
const RETRY = { firstMs: 100, mostMs: 10_000 };
/** Rows deleted per statement; about 10 ms of work. */
const TRIM_ROWS = 1_000;
/** Pause between deletions of rows sent more than 24 h ago, milliseconds. */
const TRIM_EVERY_MS = 600_000;
/** What a round that sent something counts for on the way to the next deletion, milliseconds. */
const BUSY_ROUND_MS = 100;

/** The first row of every lane, then the second of every lane, and so on: a backlog delays no other. */
const SELECT_UNSENT = {
  name: 'outbox_unsent',
  text: `SELECT topic, lane, seq, key, headers, body
         FROM (
           SELECT o.*, sum(octet_length(o.body)) OVER (ORDER BY o.nth, o.topic, o.lane)
                       - octet_length(o.body) AS bytes_before
           FROM outbox_lane l
           CROSS JOIN LATERAL (
             SELECT *, row_number() OVER (ORDER BY seq) AS nth FROM outbox
             WHERE topic = l.topic AND lane = l.lane AND seq > l.sent_seq
             ORDER BY seq LIMIT ${LANE_ROWS}
           ) o
           WHERE l.next_seq > l.sent_seq + 1
         ) r
         WHERE bytes_before < ${ROUND_BYTES}
         ORDER BY nth, topic, lane LIMIT ${ROUND_ROWS}`,
};

/** The last row that a round sent of a lane. */
interface LaneEnd {
  readonly topic: string;
  readonly lane: number;
  readonly firstSeq: bigint;
  readonly lastSeq: bigint;
}

/**
 * Sends a service's outbox to the event log: in order per lane, one append in flight, at least once.
 * Any number of instances may run; a session lock picks one, and `relay_epoch` keeps one that lost
 * the lock from marking rows. A record may arrive twice; its headers `outbox_source`, `outbox_lane`
 * and `outbox_seq` identify it.
 */
export class OutboxRelay {
  private readonly stopping = new AbortController();
  private wake = new AbortController();
  private running: Promise<void> | undefined;
  private unsubscribe: (() => void) | undefined;
  /** Epoch held per lane, by `topic/lane`; empty until this instance is the relay. */
  private epochs = new Map<string, bigint>();
  private sinceTrimMs = TRIM_EVERY_MS;

  constructor(private readonly options: OutboxRelayOptions) {}

  /** Starts sending in the background; it never gives up until `stop`. */
  start(): void {
    this.unsubscribe = this.options.writer.onCommit(() => this.nudge());
    this.running ??= this.run();
  }

  /** Makes the relay look at once. */
  nudge(): void {
    this.wake.abort();
  }

  /** Finishes the append in flight and leaves the rest for the next start. */
  async stop(): Promise<void> {
    this.unsubscribe?.();
    this.stopping.abort();
    this.wake.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    for (let failures = 0; !this.stopping.signal.aborted;) {
      const session = await this.tryLead();
      if (session === null) {
        await delay(STANDBY_MS, this.stopping.signal);
        continue;
      }
      try {
        await this.lead(session, () => (failures = 0));
      } catch (error) {
        this.warn(error);
        await this.pause(failures++);
      } finally {
        await session.close();
      }
    }
  }

  /** @returns a session that holds the lock of this outbox, or null when another one does */
  private async tryLead(): Promise<Session | null> {
    let session: Session | undefined;
    try {
      session = await this.options.database.session();
      const { rows } = await session.query<{ locked: boolean }>(
        'SELECT pg_try_advisory_lock($1, hashtext(current_schema())) AS locked',
        [RELAY_LOCK_SPACE],
      );
      if (rows[0]!.locked) return session;
    } catch (error) {
      this.warn(error);
    }
    await session?.close();
    return null;
  }

  private async lead(session: Session, onProgress: () => void): Promise<void> {
    this.epochs = new Map();
    while (!this.stopping.signal.aborted && !session.lost.aborted) {
      this.wake = new AbortController();
      const sent = await this.round(session);
      onProgress();
      await this.trim(session);
      if (sent > 0) {
        this.sinceTrimMs += BUSY_ROUND_MS;
        continue;
      }
      const pollMs = this.options.pollMs ?? 250;
      await delay(pollMs, this.stopping.signal.aborted ? this.stopping.signal : this.wake.signal);
      this.sinceTrimMs += pollMs;
    }
  }

  private async round(session: Session): Promise<number> {
    const { rows } = await session.query<OutboxRow & Record<string, unknown>>(SELECT_UNSENT);
    if (rows.length === 0) return 0;
    const lanes = laneEnds(rows);
    for (const end of lanes) await this.takeLane(session, end);
    const records = rows.map((row) => outboxRecord(this.options.service, row));
    await this.appendUntilDone(records, session);
    failpoint('outbox.after_send');
    await this.mark(session, lanes);
    failpoint('outbox.after_mark');
    return rows.length;
  }

  private async takeLane(session: Session, end: LaneEnd): Promise<void> {
    const id = `${end.topic}/${end.lane}`;
    if (this.epochs.has(id)) return;
    const { rows } = await session.query<{ relay_epoch: bigint }>(
      `UPDATE outbox_lane SET relay_epoch = relay_epoch + 1
       WHERE topic = $1 AND lane = $2 RETURNING relay_epoch`,
      [end.topic, end.lane],
    );
    this.epochs.set(id, rows[0]!.relay_epoch);
  }

  /** The same records again until the log has them: nothing overtakes. */
  private async appendUntilDone(records: OutboxRecord[], session: Session): Promise<void> {
    for (let failures = 0; ; failures += 1) {
      try {
        return await this.options.append(records);
      } catch (error) {
        this.warn(error);
        await this.pause(failures);
        if (this.stopping.signal.aborted || session.lost.aborted) throw error;
      }
    }
  }

  private async mark(session: Session, lanes: readonly LaneEnd[]): Promise<void> {
    for (const end of lanes) {
      const { rowCount } = await session.query(
        `WITH lane AS (
           UPDATE outbox_lane SET sent_seq = $3
           WHERE topic = $1 AND lane = $2 AND relay_epoch = $4 AND sent_seq = $5::bigint - 1
           RETURNING topic, lane
         )
         UPDATE outbox o SET sent_at = clock_timestamp() FROM lane
         WHERE o.topic = lane.topic AND o.lane = lane.lane AND o.seq BETWEEN $5 AND $3`,
        [
          end.topic,
          end.lane,
          end.lastSeq,
          this.epochs.get(`${end.topic}/${end.lane}`),
          end.firstSeq,
        ],
      );
      if (rowCount === 0) throw lostLane(end);
    }
  }

  private async trim(session: Session): Promise<void> {
    if (this.sinceTrimMs < TRIM_EVERY_MS) return;
    const { rowCount } = await session.query(
      `DELETE FROM outbox WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM outbox WHERE sent_at < now() - interval '24 hours' LIMIT ${TRIM_ROWS}))`,
    );
    if (rowCount < TRIM_ROWS) this.sinceTrimMs = 0;
  }

  private async pause(failures: number): Promise<void> {
    const unit = this.options.random.bytes(1)[0]! / 256;
    await delay(backoffMs(failures, RETRY, unit), this.stopping.signal);
  }

  private warn(error: unknown): void {
    const { service, logger } = this.options;
    logger.warn({ service, reason: messageOf(error) }, 'outbox relay failed; it will try again');
  }
}

/** The record of a row of a service's outbox as it is appended to the log, each time it is. */
export function outboxRecord(service: string, row: OutboxRow): OutboxRecord {
  const { topic, lane, seq, key, headers, body } = row;
  return {
    topic,
    partition: lane,
    key,
    headers: {
      ...(JSON.parse(headers) as Record<string, string>),
      outbox_source: service,
      outbox_lane: String(lane),
      outbox_seq: String(seq),
    },
    value: body,
  };
}

function laneEnds(rows: readonly OutboxRow[]): LaneEnd[] {
  const ends = new Map<string, LaneEnd>();
  for (const { topic, lane, seq } of rows) {
    const id = `${topic}/${lane}`;
    ends.set(id, { topic, lane, firstSeq: ends.get(id)?.firstSeq ?? seq, lastSeq: seq });
  }
  return [...ends.values()];
}

function lostLane(end: LaneEnd): AppError {
  return new AppError({
    code: 'outbox.fenced',
    kind: 'conflict',
    publicMessage: 'internal error',
    internalMessage: `another relay has taken ${end.topic}/${end.lane}`,
    retryable: true,
  });
}
