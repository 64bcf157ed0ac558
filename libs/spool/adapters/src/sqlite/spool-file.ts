import { crc32 } from 'node:zlib';

import type { DatabaseSync, StatementSync } from 'node:sqlite';

import { failpoint } from '#libs/kernel';

import { AttemptLedger } from './attempt-ledger.js';
import { OTHER_LANES } from './lost-ranges.js';
import { crcOfMeta, readAppend, readGroup, sealAppend, type PackedGroup } from './record-codec.js';
import { FILE_FORMAT } from './spool-schema.js';

/** Bytes of a row beside its body, for the sums that bound the file. */
export const ROW_OVERHEAD_BYTES = 64;
/** Pages of the log from which on it is moved into the file, about 4 MiB. */
const CHECKPOINT_PAGES = 1_000;
/** Ended blocks are deleted so many at a time, in a transaction that runs anyway. */
const BLOCKS_PER_DELETION = 16;

/** Where a file stands when it is opened. */
export interface FilePosition {
  readonly emitterId: Uint8Array;
  readonly trimFloor: number;
  readonly lastPosition: number;
  readonly ackedPosition: number;
  readonly lastSequences: Map<number, number>;
  readonly ledger: AttemptLedger;
  readonly unpublishedBytes: number;
}

/** What one group changes, applied to memory only once it is committed. */
interface Outcome {
  position: number;
  bytes: number;
  readonly sequences: Map<number, number>;
  /** Pairs of attempt number and position. */
  readonly closings: number[];
}

/**
 * The writing side of the one connection: groups, acknowledgements and the counters, which move only
 * with their commit. Synchronous; lives in the writer thread.
 */
export class SpoolFile {
  readonly ledger: AttemptLedger;
  lastPosition: number;
  ackedPosition: number;
  trimFloor: number;
  unpublishedBytes: number;
  private readonly emitterId: Uint8Array;
  private storedAck: number;
  private pendingAck: number | null = null;
  private pendingDeletion = false;
  private readonly lastSequences: Map<number, number>;
  private readonly statements: ReturnType<typeof prepareAll>;

  constructor(
    readonly db: DatabaseSync,
    start: FilePosition,
  ) {
    this.ledger = start.ledger;
    this.emitterId = start.emitterId;
    this.trimFloor = start.trimFloor;
    this.lastPosition = start.lastPosition;
    this.ackedPosition = start.ackedPosition;
    this.storedAck = start.ackedPosition;
    this.unpublishedBytes = start.unpublishedBytes;
    this.lastSequences = start.lastSequences;
    // The writer does it itself, after those who wait for the commit have been told.
    db.exec('PRAGMA wal_autocheckpoint = 0');
    this.statements = prepareAll(db);
  }

  /** Highest sequence a lane has ever used; 0 when it has none. */
  lastSequence(lane: number): number {
    return lastSequenceOf(this.lastSequences, lane);
  }

  /**
   * Moves the log into the file when it is long enough.
   * @throws the engine's error; the log then stays as it is and everything in it counts
   */
  checkpointWhenDue(): void {
    const state = this.statements.logState.get();
    if (Number(state?.['log']) - Number(state?.['checkpointed']) < CHECKPOINT_PAGES) return;
    failpoint('spool.checkpoint');
    this.statements.checkpoint.get();
  }

  /**
   * Stores a packed group in one transaction.
   * @returns position of the last event in the file
   * @throws the engine's error; then nothing of the group is stored and no counter has moved
   */
  commit(packed: Buffer): number {
    const group = readGroup(packed);
    const outcome: Outcome = {
      position: this.lastPosition,
      bytes: 0,
      sequences: new Map(),
      closings: [],
    };
    this.transaction(() => {
      this.storeMarks(group);
      this.storeOpens(group);
      this.storeAppends(group, outcome);
      this.storeAcknowledged();
      if (this.ledger.deletable().length >= BLOCKS_PER_DELETION) this.deleteEnded();
      failpoint('spool.commit');
    });
    this.apply(group, outcome);
    return this.lastPosition;
  }

  /**
   * Notes that everything up to a position is published. It becomes durable with the next commit: lost
   * with the process it only makes the relay publish again what the log already has.
   */
  acknowledge(position: number): void {
    if (position <= this.ackedPosition) return;
    const row = this.statements.bytesBetween.get(this.ackedPosition, position);
    this.unpublishedBytes -= Number(row?.['bytes'] ?? 0);
    this.ackedPosition = position;
  }

  /** Stores what waits for company: the acknowledgement and the deletion of ended blocks. */
  settle(): void {
    const isSettled = this.storedAck === this.ackedPosition && this.ledger.deletable().length === 0;
    if (isSettled) return;
    this.transaction(() => {
      this.storeAcknowledged();
      this.deleteEnded();
    });
    this.afterCommit();
  }

  /**
   * Runs a step in one transaction.
   * @throws what the step or the commit throws, after a rollback
   */
  transaction(step: () => void): void {
    this.statements.begin.run();
    try {
      step();
      this.statements.commit.run();
    } catch (error) {
      this.pendingAck = null;
      this.pendingDeletion = false;
      if (this.db.isTransaction) this.db.exec('ROLLBACK');
      throw error;
    }
  }

  private storeMarks(group: PackedGroup): void {
    for (const mark of group.marks) {
      if (!this.ledger.isOpen(mark.attemptNumber)) continue;
      this.statements.mark.run(mark.attemptNumber, mark.tokensOut);
    }
  }

  private storeOpens(group: PackedGroup): void {
    if (group.openCount === 0) return;
    const { firstAttempt, openCount, atUs, opens } = group;
    this.statements.block.run(
      firstAttempt,
      openCount,
      this.lastPosition,
      atUs,
      opens,
      crc32(opens),
    );
  }

  private storeAppends(group: PackedGroup, outcome: Outcome): void {
    const { event } = this.statements;
    let at = 0;
    for (let left = group.appendCount; left > 0; left -= 1) {
      const record = readAppend(group.appends, at);
      const { lane, closes, eventId, framed, sealed } = record;
      const last = outcome.sequences.get(lane) ?? lastSequenceOf(this.lastSequences, lane);
      const crc = sealAppend(record, last + 1);
      outcome.position += 1;
      event.run(outcome.position, lane, last + 1, closes, eventId, group.atUs, framed, crc);
      outcome.sequences.set(lane, last + 1);
      outcome.bytes += framed.byteLength + ROW_OVERHEAD_BYTES;
      if (closes > 0) outcome.closings.push(closes, outcome.position);
      at += 4 + sealed.byteLength;
    }
  }

  private storeAcknowledged(): void {
    if (this.storedAck === this.ackedPosition) return;
    this.storeMeta(this.trimFloor);
    this.pendingAck = this.ackedPosition;
  }

  /** Stores the acknowledgement with a trim floor; the caller runs it in a transaction. */
  storeMeta(trimFloor: number): void {
    const { emitterId, ackedPosition } = this;
    const crc = crcOfMeta(FILE_FORMAT, emitterId, ackedPosition, trimFloor);
    this.statements.meta.run(ackedPosition, trimFloor, crc);
  }

  private deleteEnded(): void {
    for (const { first, count } of this.ledger.deletable()) {
      this.statements.deleteBlock.run(first);
      this.statements.deleteMarks.run(first, first + count - 1);
    }
    this.pendingDeletion = true;
  }

  private apply(group: PackedGroup, outcome: Outcome): void {
    const before = this.lastPosition;
    this.lastPosition = outcome.position;
    this.unpublishedBytes += outcome.bytes;
    for (const [lane, sequence] of outcome.sequences) this.lastSequences.set(lane, sequence);
    this.afterCommit();
    if (group.openCount > 0) this.ledger.opened(group.firstAttempt, group.openCount, before);
    const { closings } = outcome;
    for (let index = 0; index < closings.length; index += 2) {
      this.ledger.closed(closings[index]!, closings[index + 1]!);
    }
  }

  private afterCommit(): void {
    if (this.pendingAck !== null) this.storedAck = this.pendingAck;
    if (this.pendingDeletion) this.ledger.forget();
    this.pendingAck = null;
    this.pendingDeletion = false;
  }
}

/** Last sequence of a lane; 0 when it has none. */
export function lastSequenceOf(lastSequences: ReadonlyMap<number, number>, lane: number): number {
  return lastSequences.get(lane) ?? lastSequences.get(OTHER_LANES) ?? 0;
}

function prepareAll(
  db: DatabaseSync,
): Readonly<
  Record<
    | 'begin'
    | 'commit'
    | 'event'
    | 'block'
    | 'mark'
    | 'deleteBlock'
    | 'deleteMarks'
    | 'meta'
    | 'bytesBetween'
    | 'logState'
    | 'checkpoint',
    StatementSync
  >
> {
  return {
    begin: db.prepare('BEGIN IMMEDIATE'),
    commit: db.prepare('COMMIT'),
    event: db.prepare('INSERT INTO spool VALUES (?, ?, ?, ?, ?, ?, ?, ?)'),
    block: db.prepare('INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)'),
    mark: db.prepare(
      `INSERT INTO progress VALUES (?, ?)
       ON CONFLICT (attempt) DO UPDATE SET tokens_out = max(tokens_out, excluded.tokens_out)`,
    ),
    deleteBlock: db.prepare('DELETE FROM journal WHERE pos = ?'),
    deleteMarks: db.prepare('DELETE FROM progress WHERE attempt BETWEEN ? AND ?'),
    meta: db.prepare('UPDATE spool_meta SET acked_pos = ?, trim_floor = ?, crc = ?'),
    bytesBetween: db.prepare(
      `SELECT coalesce(sum(length(body) + ${ROW_OVERHEAD_BYTES}), 0) AS bytes
       FROM spool WHERE pos > ? AND pos <= ?`,
    ),
    logState: db.prepare('PRAGMA wal_checkpoint(NOOP)'),
    checkpoint: db.prepare('PRAGMA wal_checkpoint(PASSIVE)'),
  };
}
