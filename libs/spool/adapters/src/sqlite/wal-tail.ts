import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';

const HEADER_BYTES = 32;
const FRAME_HEAD_BYTES = 24;
/** Magic number of a log whose checksums are taken over big-endian words. */
const MAGIC_BIG_ENDIAN = 0x377f0683;

/**
 * Whether a write-ahead log goes on behind the point where SQLite stops reading it. SQLite takes a
 * broken checksum for the end of the log, which is right for a torn last transaction (nothing complete
 * follows); a whole commit behind it means that stored transactions have been damaged and dropped.
 * Reads the log once; call it with the lock held and before the first write.
 * @source https://www.sqlite.org/fileformat2.html#walformat
 */
export function hasCommitsBehindDamage(walPath: string): boolean {
  if (!existsSync(walPath)) return false;
  const file = openSync(walPath, 'r');
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    if (readSync(file, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return false;
    return scanFrames(file, fstatSync(file).size, header);
  } finally {
    closeSync(file);
  }
}

function scanFrames(file: number, size: number, header: Buffer): boolean {
  const isBigEndian = header.readUInt32BE(0) === MAGIC_BIG_ENDIAN;
  const pageSize = header.readUInt32BE(8);
  const isPageSize = pageSize >= 512 && pageSize <= 65_536;
  const frame = Buffer.alloc(FRAME_HEAD_BYTES + (isPageSize ? pageSize : 4_096));
  const sum: [number, number] = [0, 0];
  addChecksum(sum, header, 0, 24, isBigEndian);
  const isHeaderSound =
    isPageSize && sum[0] === header.readUInt32BE(24) && sum[1] === header.readUInt32BE(28);
  let isBroken = !isHeaderSound;
  for (let at = HEADER_BYTES; at + frame.length <= size; at += frame.length) {
    readSync(file, frame, 0, frame.length, at);
    const isCommit = frame.readUInt32BE(4) !== 0;
    // Frames of an earlier round of the log carry other salts; a damaged header names none to compare.
    const isCurrent = !isHeaderSound || frame.compare(header, 16, 24, 8, 16) === 0;
    if (!isBroken) {
      addChecksum(sum, frame, 0, 8, isBigEndian);
      addChecksum(sum, frame, FRAME_HEAD_BYTES, frame.length, isBigEndian);
      const isSound = sum[0] === frame.readUInt32BE(16) && sum[1] === frame.readUInt32BE(20);
      isBroken = !isCurrent || !isSound;
    }
    if (isBroken && isCurrent && isCommit) return true;
  }
  return false;
}

/** The running checksum of the log over words of the given order. */
function addChecksum(
  sum: [number, number],
  bytes: Buffer,
  from: number,
  to: number,
  isBigEndian: boolean,
): void {
  let [first, second] = sum;
  for (let at = from; at < to; at += 8) {
    const left = isBigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
    const right = isBigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4);
    first = (first + left + second) >>> 0;
    second = (second + right + first) >>> 0;
  }
  sum[0] = first;
  sum[1] = second;
}
