import { join } from 'node:path';

import { AppError, assert, messageOf, type Clock, type Random } from '#libs/kernel';
import {
  admitsAttempts,
  Spool,
  type AttemptIntent,
  type LaneRange,
  type LostRange,
  type OpenAttempt,
  type PublishedPart,
  type SpoolDepth,
  type SpoolEvent,
  type SpoolHealth,
  type SpoolReadLimit,
  type SpooledEvent,
} from '#libs/spool/core';

import { GroupCommitter, type SpoolLogger, type SpoolMetrics } from './group-committer.js';
import { GroupQueue, type OpenedAttempt, type TakenGroup } from './group-queue.js';
import { LogSync } from './log-sync.js';
import { RecentEvents } from './recent-events.js';
import { appendBytes, checkRecord, eventIdText, openBytes, readFramed } from './record-codec.js';
import { lastSequenceOf, ROW_OVERHEAD_BYTES } from './spool-file.js';
import { DATABASE_FILE } from './spool-schema.js';
import {
  unavailable,
  type FileSizes,
  type Opening,
  type SpooledRow,
  type SpoolFaults,
} from './writer-protocol.js';
import { WriterThread } from './writer-thread.js';

/** How a spool is opened. */
export interface SqliteSpoolOptions {
  /** Folder of the file and its companions; made when it is missing. One process at a time. */
  readonly directory: string;
  /** What a resolved promise survives: `process`: kill -9; `fsync`: power loss. */
  readonly ack: 'process' | 'fsync';
  /** Longest wait for company under load, milliseconds; at rest a record goes at once. @default 2 */
  readonly groupMs?: number;
  /** Unpublished bytes at which no further attempt is admitted. @default 4 GiB */
  readonly capBytes?: number;
  /** How long published events are kept for resends, milliseconds. @default 24 h */
  readonly keepAckedMs?: number;
  /** Published bytes above which the oldest go earlier. @default 1 GiB */
  readonly keepAckedBytes?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger?: SpoolLogger;
  readonly metrics?: SpoolMetrics;
  /** Told once when the writer is gone: the process should finish what is in flight and exit. */
  readonly onFatal?: (error: AppError) => void;
  /** Failpoints of the writer thread; a test's only. */
  readonly faults?: SpoolFaults | null;
}

/** A commit that takes longer makes the process unready, milliseconds. */
const STALL_MS = 2_000;
/** Pause between rounds of housekeeping, milliseconds. */
const TEND_MS = 1_000;
/** How long a progress mark waits for a commit that runs anyway, milliseconds. */
const MARK_WAIT_MS = 10;
/** How long closing waits for a volume that does not take the last events, milliseconds. */
const CLOSE_WAIT_MS = 10_000;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The spool in an SQLite file, written by a thread of its own in groups. */
export class SqliteSpool extends Spool {
  readonly emitterId: string;
  readonly lostRanges: readonly LostRange[];
  private readonly attempts = new Map<string, OpenedAttempt>();
  private readonly leftOpen: readonly number[];
  private readonly queue: GroupQueue;
  private readonly recent = new RecentEvents();
  private readonly lastSequences: Map<number, number>;
  private readonly capBytes: number;
  private readonly committer: GroupCommitter;
  private readonly tendTimer: NodeJS.Timeout;
  /** Null when every commit is on disk anyway. */
  private readonly logSync: LogSync | null;
  private lastPosition: number;
  private publishedPosition: number;
  private sizes: FileSizes;
  private markTimer: NodeJS.Timeout | null = null;
  private isTending = false;
  private state: 'open' | 'closed' | 'failed' = 'open';
  private waiters: (() => void)[] = [];

  private constructor(
    private readonly options: SqliteSpoolOptions,
    private readonly writer: WriterThread,
    opening: Opening,
  ) {
    super();
    this.emitterId = opening.emitterId;
    this.lostRanges = opening.lostRanges;
    this.queue = new GroupQueue(opening.nextAttempt);
    this.lastSequences = new Map(opening.lastSequences);
    this.lastPosition = opening.lastPosition;
    this.publishedPosition = opening.ackedPosition;
    this.sizes = opening;
    this.leftOpen = opening.leftOpen.map(({ number }) => number);
    for (const { requestId, attempt, number } of opening.leftOpen) {
      this.attempts.set(keyOf(requestId, attempt), { number, isDurable: true });
    }
    this.capBytes = options.capBytes ?? 4 * 2 ** 30;
    const log = join(options.directory, `${DATABASE_FILE}-wal`);
    this.logSync = options.ack === 'process' ? new LogSync(log) : null;
    this.tendTimer = setInterval(() => void this.tend(), TEND_MS).unref();
    this.committer = new GroupCommitter({
      queue: this.queue,
      writer,
      clock: options.clock,
      groupMs: options.groupMs ?? 2,
      isDiskFull: !opening.hasReserve,
      logger: options.logger,
      metrics: options.metrics,
      stored: (group, position) => this.onStored(group, position),
      refused: (entry) => this.attempts.delete(entry.key),
      died: (error) => this.onDied(error),
    });
    writer.listen(this.committer);
  }

  /**
   * Opens the file of a directory, with salvage when it is damaged.
   * @throws AppError `spool.in_use` when another process has it, `spool.sqlite_too_old`,
   *   `spool.unknown_format`, `spool.unavailable`
   */
  static async open(options: SqliteSpoolOptions): Promise<SqliteSpool> {
    const { writer, opening } = await WriterThread.start({
      directory: options.directory,
      ack: options.ack,
      keepAckedMs: options.keepAckedMs ?? 24 * 3_600_000,
      keepAckedBytes: options.keepAckedBytes ?? 2 ** 30,
      freshEmitterId: options.random.bytes(16),
      nowMs: options.clock.nowMs(),
      faults: options.faults ?? null,
    });
    return new SqliteSpool(options, writer, opening);
  }

  open(intent: AttemptIntent): Promise<void> {
    // One promise to wait for, not one around another; what the executor throws rejects it.
    return new Promise((resolve, reject) => this.enqueueOpen(intent, resolve, reject));
  }

  private enqueueOpen(
    intent: AttemptIntent,
    resolve: () => void,
    reject: (error: unknown) => void,
  ): void {
    const key = keyOf(intent.requestId, intent.attempt);
    this.refuseUnlessAdmitting();
    checkRecord(intent.body, intent.holdPicoUsd);
    assert(UUID.test(intent.requestId), 'a request id is a UUID');
    if (this.attempts.has(key)) throw conflict('spool.already_open', `attempt ${key} is open`);
    const opened: OpenedAttempt = { number: 0, isDurable: false };
    this.attempts.set(key, opened);
    const { requestId, attempt, lane, holdPicoUsd, body } = intent;
    const bytes = openBytes(intent);
    this.queue.addOpen({
      requestId,
      attempt,
      lane,
      holdPicoUsd,
      body,
      key,
      opened,
      bytes,
      resolve,
      reject,
    });
    this.committer.schedule();
  }

  progress(requestId: string, attempt: number, tokensOut: number): void {
    const opened = this.attempts.get(keyOf(requestId, attempt));
    if (opened === undefined || !opened.isDurable || this.state !== 'open') return;
    this.queue.mark(opened.number, tokensOut);
    this.markTimer ??= setTimeout(() => {
      this.markTimer = null;
      this.committer.schedule();
    }, MARK_WAIT_MS);
  }

  append(event: SpoolEvent): Promise<void> {
    return new Promise((resolve, reject) => this.enqueueAppend(event, resolve, reject));
  }

  private enqueueAppend(
    event: SpoolEvent,
    resolve: () => void,
    reject: (error: unknown) => void,
  ): void {
    if (this.state !== 'open') throw unavailable(`the spool is ${this.state}`);
    checkRecord(event.body, 0n);
    assert(UUID.test(event.eventId), 'an event id is a UUID');
    if (event.closes === null && this.queue.isFull) throw unavailable('the queue is full');
    const record = {
      lane: event.lane,
      eventId: event.eventId,
      closes: event.closes === null ? 0 : this.end(event.closes),
      headersJson: JSON.stringify(event.headers),
      body: event.body,
    };
    this.queue.addAppend({ ...record, event, bytes: appendBytes(record), resolve, reject });
    this.committer.schedule();
  }

  async openAttempts(): Promise<readonly OpenAttempt[]> {
    if (this.leftOpen.length === 0) return [];
    const rows = await this.writer.call('openAttempts', { numbers: this.leftOpen });
    return rows.map(({ tokensOut, holdPicoUsd, ...row }) => ({
      ...row,
      holdPicoUsd: holdPicoUsd as OpenAttempt['holdPicoUsd'],
      progress: tokensOut === null ? null : { tokensOut },
    }));
  }

  async knownEvents(eventIds: readonly string[]): Promise<ReadonlySet<string>> {
    return new Set(await this.writer.call('knownEvents', { eventIds }));
  }

  keptSince(): Promise<number> {
    return this.writer.call('keptSince', { nowMs: this.options.clock.nowMs() });
  }

  async unpublished({ maxEvents, maxBytes }: SpoolReadLimit): Promise<readonly SpooledEvent[]> {
    const { publishedPosition, lastPosition } = this;
    if (publishedPosition >= lastPosition) return [];
    await this.syncLog();
    // What was committed while the log was synced may not be on disk yet.
    const most = Math.min(maxEvents, lastPosition - publishedPosition);
    const recent = this.recent.behind(publishedPosition, most, maxBytes);
    if (recent !== null) return recent;
    const range = { after: publishedPosition, maxEvents: most, maxBytes };
    const rows = await this.writer.call('read', range);
    return rows.map(toSpooledEvent).filter(({ position }) => position <= lastPosition);
  }

  async published(range: LaneRange, limit: SpoolReadLimit): Promise<PublishedPart> {
    const { lane } = range;
    const [from, to] = [Number(range.from), Number(range.to)];
    assert(from >= 1 && Number.isSafeInteger(from), 'sequences are counted from 1');
    const part = await this.writer.call('published', { lane, from, to, ...limit });
    return {
      events: part.rows.map(toSpooledEvent),
      missing: part.missing.map((gap) => ({ lane, from: BigInt(gap.from), to: BigInt(gap.to) })),
      next: part.next === null ? null : BigInt(part.next),
    };
  }

  async markPublished(position: number): Promise<void> {
    assert(position <= this.lastPosition, 'only what is in the file can be published');
    this.publishedPosition = Math.max(this.publishedPosition, position);
    this.recent.dropUntil(position);
    this.sizes = await this.writer.call('acknowledge', { position });
  }

  waitForEvents(signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.publishedPosition < this.lastPosition) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        resolve();
      };
      signal.addEventListener('abort', wake, { once: true });
      this.waiters.push(wake);
    });
  }

  depth(): SpoolDepth {
    const unpublishedEvents = this.lastPosition - this.publishedPosition;
    const { unpublishedBytes, sizeBytes } = this.sizes;
    return { unpublishedEvents, unpublishedBytes, capBytes: this.capBytes, sizeBytes };
  }

  health(): SpoolHealth {
    if (this.state !== 'open') return this.state;
    if (this.committer.isDiskFull) return 'disk_full';
    if (this.committer.isRetrying) return 'retrying';
    if (this.sizes.unpublishedBytes >= this.capBytes) return 'backlog_full';
    return this.committer.commitAgeMs() > STALL_MS ? 'stalled' : 'ok';
  }

  async close(): Promise<void> {
    if (this.state !== 'open') return;
    this.state = 'closed';
    clearInterval(this.tendTimer);
    const patience = setTimeout(() => {
      this.committer.died('the spool was closed before the volume took the last events');
    }, CLOSE_WAIT_MS);
    await this.committer.drain();
    clearTimeout(patience);
    if (this.health() === 'failed') await this.writer.kill();
    else await this.writer.close();
    await this.logSync?.close();
    this.wake();
  }

  /** After a failed sync nobody knows what the disk holds: only a new start reads the truth. */
  private async syncLog(): Promise<void> {
    try {
      await this.logSync?.sync();
    } catch (error) {
      this.committer.died(messageOf(error));
      throw unavailable(messageOf(error));
    }
  }

  private refuseUnlessAdmitting(): void {
    const health = this.health();
    if (!admitsAttempts(health)) throw unavailable(`the spool is ${health}`);
    if (this.queue.isFull) throw unavailable('the queue is full');
  }

  /** Takes an attempt out of the open ones, so that it ends once. */
  private end(closes: { readonly requestId: string; readonly attempt: number }): number {
    const key = keyOf(closes.requestId, closes.attempt);
    const opened = this.attempts.get(key);
    if (opened === undefined || !opened.isDurable) {
      throw conflict('spool.not_open', `attempt ${key} is not open`);
    }
    this.attempts.delete(key);
    return opened.number;
  }

  private onStored(group: TakenGroup, lastPosition: number): void {
    for (const entry of group.opens) entry.opened.isDurable = true;
    let bytes = 0;
    for (const { event, headersJson, body } of group.appends) {
      const { lane, eventId, headers } = event;
      this.lastPosition += 1;
      const sequence = lastSequenceOf(this.lastSequences, lane) + 1;
      this.lastSequences.set(lane, sequence);
      const position = this.lastPosition;
      this.recent.push({ lane, eventId, headers, body, position, sequence: BigInt(sequence) });
      bytes += headersJson.length + body.byteLength + ROW_OVERHEAD_BYTES;
    }
    assert(this.lastPosition === lastPosition, 'both threads count the same events');
    if (group.appends.length === 0) return;
    this.sizes = { ...this.sizes, unpublishedBytes: this.sizes.unpublishedBytes + bytes };
    this.wake();
  }

  private onDied(error: AppError): void {
    const wasOpen = this.state === 'open';
    this.state = 'failed';
    clearInterval(this.tendTimer);
    if (wasOpen) this.options.onFatal?.(error);
  }

  private wake(): void {
    const { waiters } = this;
    this.waiters = [];
    for (const wake of waiters) wake();
  }

  /** Housekeeping in the writer; a failure shows in `health` when it matters, and comes again. */
  private async tend(): Promise<void> {
    if (this.isTending || this.state !== 'open') return;
    this.isTending = true;
    try {
      const { clock } = this.options;
      let result = await this.writer.call('tend', { nowMs: clock.nowMs() });
      while (result.isTrimDue && this.state === 'open') {
        result = await this.writer.call('tend', { nowMs: clock.nowMs() });
      }
      this.sizes = result;
      if (result.hasReserve && !this.committer.isRetrying) this.committer.isDiskFull = false;
    } catch (error) {
      this.options.logger?.warn({ err: error }, 'housekeeping of the spool failed');
    } finally {
      this.isTending = false;
    }
  }
}

function keyOf(requestId: string, attempt: number): string {
  return `${requestId}/${attempt}`;
}

function conflict(code: string, internalMessage: string): AppError {
  return new AppError({ code, kind: 'conflict', publicMessage: 'internal error', internalMessage });
}

function toSpooledEvent(row: SpooledRow): SpooledEvent {
  const { position, lane, framed } = row;
  const { headers, body } = readFramed(
    Buffer.from(framed.buffer, framed.byteOffset, framed.byteLength),
  );
  const eventId = eventIdText(row.eventId);
  return { position, lane, sequence: BigInt(row.sequence), eventId, headers, body };
}
