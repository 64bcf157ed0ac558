import { crc32 } from 'node:zlib';

import { AppError, assert } from '#libs/kernel';
import { MAX_RECORD_BYTES } from '#libs/spool/core';

/*
 * Layout of what travels between the request thread and the writer thread, and of the blobs in the
 * file. All numbers are little-endian; counters are doubles, exact up to 2^53.
 *
 * group   = f64 atUs | f64 firstAttempt | u32 marks | u32 opens | u32 openBytes | u32 appends
 *           | marks x (f64 attempt, f64 tokensOut) | open records | append records
 * open    = u32 length | u32 lane | u32 attempt | u64 hold | 16 request id | body
 * append  = u32 length | sealed
 * sealed  = f64 closes | f64 sequence | f64 atUs | u32 lane | 16 event id | framed
 * framed  = u32 headers length | headers JSON | body
 *
 * `length` counts the bytes after itself. The CRC-32 of a row runs over `sealed`, so that a flipped
 * bit in any column is found. The writer fills in the sequence.
 */

const GROUP_HEAD_BYTES = 32;
const MARK_BYTES = 16;
const OPEN_HEAD_BYTES = 36;
const SEALED_HEAD_BYTES = 44;
/** Largest value an SQLite integer column takes. */
const MAX_INT64 = 2n ** 63n - 1n;

/** What a group stores for an attempt about to be sent. */
export interface OpenRecord {
  /** UUID with dashes. */
  readonly requestId: string;
  readonly attempt: number;
  readonly lane: number;
  readonly holdPicoUsd: bigint;
  readonly body: Uint8Array;
}

/** What a group stores for an event. */
export interface AppendRecord {
  readonly lane: number;
  /** UUID with dashes. */
  readonly eventId: string;
  /** Number of the attempt that this event ends, 0 for none. */
  readonly closes: number;
  readonly headersJson: string;
  readonly body: Uint8Array;
}

/** Output delivered so far by an attempt. */
export interface ProgressMark {
  readonly attemptNumber: number;
  readonly tokensOut: number;
}

/** Everything that one transaction stores. */
export interface Group {
  /** Microseconds since 1970, wall clock. */
  readonly atUs: number;
  /** Number of the first attempt opened; the others follow without gaps. */
  readonly firstAttempt: number;
  readonly opens: readonly OpenRecord[];
  readonly appends: readonly AppendRecord[];
  readonly marks: readonly ProgressMark[];
}

/** A packed append as the writer sees it; all views share the group's memory. */
export interface PackedAppend {
  readonly lane: number;
  readonly closes: number;
  readonly eventId: Buffer;
  readonly framed: Buffer;
  /** What the CRC runs over, once `sealAppend` has put in the sequence. */
  readonly sealed: Buffer;
}

/** A packed group as the writer sees it. */
export interface PackedGroup {
  readonly atUs: number;
  readonly firstAttempt: number;
  readonly openCount: number;
  /** All open records as they are stored; empty when there are none. */
  readonly opens: Buffer;
  readonly appendCount: number;
  readonly marks: readonly ProgressMark[];
  /** The append records, for `readAppend`. */
  readonly appends: Buffer;
}

const HEX = new Uint8Array(128).fill(255);
for (let digit = 0; digit < 16; digit += 1) {
  HEX['0123456789abcdef'.charCodeAt(digit)] = digit;
  HEX['0123456789ABCDEF'.charCodeAt(digit)] = digit;
}

/** Writes 16 bytes; two calls per request make a general hex reader too dear. */
function writeUuid(target: Buffer, offset: number, uuid: string): void {
  let at = offset;
  let mixed = uuid.length === 36 ? 0 : 255;
  for (let index = 0; index < 36; index += 2) {
    if (index === 8 || index === 13 || index === 18 || index === 23) index += 1;
    const high = HEX[uuid.charCodeAt(index) & 127]!;
    const low = HEX[uuid.charCodeAt(index + 1) & 127]!;
    mixed |= high | low;
    target[at] = (high << 4) | low;
    at += 1;
  }
  assert(mixed < 16, 'ids in the spool are UUIDs with dashes');
}

function readUuid(source: Buffer, offset: number): string {
  const hex = source.toString('hex', offset, offset + 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/**
 * Checks what can be checked before a record is queued.
 * @throws AppError `spool.record_too_large` above 64 KiB of body, `spool.hold_out_of_range` for a hold
 *   below 0 or at least 2^63 pico-dollars
 */
export function checkRecord(body: Uint8Array, holdPicoUsd: bigint): void {
  if (body.byteLength > MAX_RECORD_BYTES) {
    throw new AppError({
      code: 'spool.record_too_large',
      kind: 'invalid',
      publicMessage: 'the record is too large',
      internalMessage: `${body.byteLength} bytes, at most ${MAX_RECORD_BYTES}`,
    });
  }
  if (holdPicoUsd < 0n || holdPicoUsd > MAX_INT64) {
    throw new AppError({
      code: 'spool.hold_out_of_range',
      kind: 'invalid',
      publicMessage: 'the amount is out of range',
      internalMessage: `hold of ${holdPicoUsd} pico-dollars`,
    });
  }
}

/** Bytes an attempt takes in a group. */
export function openBytes(record: OpenRecord): number {
  return OPEN_HEAD_BYTES + record.body.byteLength;
}

/** Bytes an event takes in a group. */
export function appendBytes(record: AppendRecord): number {
  return 8 + SEALED_HEAD_BYTES + Buffer.byteLength(record.headersJson) + record.body.byteLength;
}

/**
 * Packs a group into one buffer whose memory is its own, so that it can be transferred.
 * @param recordBytes sum of `openBytes` and `appendBytes` over the records
 * @throws AppError `internal.assertion` for an id that is no UUID
 */
export function packGroup(group: Group, recordBytes: number): Buffer {
  const { opens, appends, marks } = group;
  const target = Buffer.from(
    new ArrayBuffer(GROUP_HEAD_BYTES + marks.length * MARK_BYTES + recordBytes),
  );
  let at = GROUP_HEAD_BYTES;
  for (const mark of marks) {
    target.writeDoubleLE(mark.attemptNumber, at);
    target.writeDoubleLE(mark.tokensOut, at + 8);
    at += MARK_BYTES;
  }
  const opensAt = at;
  for (const record of opens) at = writeOpen(target, at, record);
  target.writeDoubleLE(group.atUs, 0);
  target.writeDoubleLE(group.firstAttempt, 8);
  target.writeUInt32LE(marks.length, 16);
  target.writeUInt32LE(opens.length, 20);
  target.writeUInt32LE(at - opensAt, 24);
  target.writeUInt32LE(appends.length, 28);
  for (const record of appends) at = writeAppend(target, at, record, group.atUs);
  assert(at === target.byteLength, 'the size of a group is the sum of its records');
  return target;
}

function writeOpen(target: Buffer, offset: number, record: OpenRecord): number {
  const length = openBytes(record);
  target.writeUInt32LE(length - 4, offset);
  target.writeUInt32LE(record.lane, offset + 4);
  target.writeUInt32LE(record.attempt, offset + 8);
  target.writeBigUInt64LE(record.holdPicoUsd, offset + 12);
  writeUuid(target, offset + 20, record.requestId);
  target.set(record.body, offset + OPEN_HEAD_BYTES);
  return offset + length;
}

function writeAppend(target: Buffer, offset: number, record: AppendRecord, atUs: number): number {
  target.writeDoubleLE(record.closes, offset + 4);
  target.writeDoubleLE(atUs, offset + 20);
  target.writeUInt32LE(record.lane, offset + 28);
  writeUuid(target, offset + 32, record.eventId);
  const headersAt = offset + 8 + SEALED_HEAD_BYTES;
  const headersLength = target.write(record.headersJson, headersAt);
  target.writeUInt32LE(headersLength, headersAt - 4);
  const bodyAt = headersAt + headersLength;
  target.set(record.body, bodyAt);
  const end = bodyAt + record.body.byteLength;
  target.writeUInt32LE(end - offset - 4, offset);
  return end;
}

/** Opens a packed group; its views share the memory of `source`. */
export function readGroup(source: Buffer): PackedGroup {
  const marks: ProgressMark[] = [];
  let at = GROUP_HEAD_BYTES;
  for (let index = source.readUInt32LE(16); index > 0; index -= 1) {
    marks.push({ attemptNumber: source.readDoubleLE(at), tokensOut: source.readDoubleLE(at + 8) });
    at += MARK_BYTES;
  }
  const appendsAt = at + source.readUInt32LE(24);
  return {
    atUs: source.readDoubleLE(0),
    firstAttempt: source.readDoubleLE(8),
    openCount: source.readUInt32LE(20),
    opens: source.subarray(at, appendsAt),
    appendCount: source.readUInt32LE(28),
    marks,
    appends: source.subarray(appendsAt),
  };
}

/** The append record at an offset of `PackedGroup.appends`; the next one begins 4 + sealed bytes on. */
export function readAppend(appends: Buffer, offset: number): PackedAppend {
  const sealedAt = offset + 4;
  const sealed = appends.subarray(sealedAt, sealedAt + appends.readUInt32LE(offset));
  return {
    lane: sealed.readUInt32LE(24),
    closes: sealed.readDoubleLE(0),
    eventId: sealed.subarray(28, 44),
    framed: sealed.subarray(SEALED_HEAD_BYTES),
    sealed,
  };
}

/**
 * Puts the sequence into a packed append.
 * @returns CRC-32 of the row
 */
export function sealAppend(record: PackedAppend, sequence: number): number {
  record.sealed.writeDoubleLE(sequence, 8);
  return crc32(record.sealed);
}

/** The columns of a row that its CRC covers. */
export interface RowColumns {
  readonly closes: number;
  readonly sequence: number;
  readonly atUs: number;
  readonly lane: number;
  readonly eventId: Uint8Array;
  readonly framed: Uint8Array;
}

/** CRC-32 of a row as it was read, to compare with the stored one. */
export function crcOfRow(row: RowColumns): number {
  const head = Buffer.alloc(SEALED_HEAD_BYTES);
  head.writeDoubleLE(row.closes, 0);
  head.writeDoubleLE(row.sequence, 8);
  head.writeDoubleLE(row.atUs, 16);
  head.writeUInt32LE(row.lane, 24);
  head.set(row.eventId.subarray(0, 16), 28);
  return crc32(row.framed, crc32(head));
}

/** CRC-32 of what the file says of itself; a flipped `acked_pos` would silently skip events. */
export function crcOfMeta(
  format: number,
  emitterId: Uint8Array,
  ackedPosition: number,
  trimFloor: number,
): number {
  const bytes = Buffer.alloc(40);
  bytes.set(emitterId.subarray(0, 16));
  bytes.writeDoubleLE(ackedPosition, 16);
  bytes.writeDoubleLE(trimFloor, 24);
  bytes.writeDoubleLE(format, 32);
  return crc32(bytes);
}

/** The headers and the body of a framed blob; the body shares its memory. */
export function readFramed(framed: Buffer): {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
} {
  const bodyAt = 4 + framed.readUInt32LE(0);
  const headers = JSON.parse(framed.toString('utf8', 4, bodyAt)) as Record<string, string>;
  return { headers, body: framed.subarray(bodyAt) };
}

/** All attempts of a stored block of open records, in the order they were opened. */
export function readOpens(block: Buffer): OpenRecord[] {
  const records: OpenRecord[] = [];
  for (let at = 0; at < block.byteLength; at += 4 + block.readUInt32LE(at)) {
    records.push({
      lane: block.readUInt32LE(at + 4),
      attempt: block.readUInt32LE(at + 8),
      holdPicoUsd: block.readBigUInt64LE(at + 12),
      requestId: readUuid(block, at + 20),
      body: block.subarray(at + OPEN_HEAD_BYTES, at + 4 + block.readUInt32LE(at)),
    });
  }
  return records;
}

/** The text form of a stored event id. */
export function eventIdText(eventId: Uint8Array): string {
  return readUuid(Buffer.from(eventId.buffer, eventId.byteOffset, 16), 0);
}
