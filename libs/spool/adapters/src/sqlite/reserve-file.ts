import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

/** Room kept for outcomes of requests in flight on a full volume: 16 MiB, some 10,000 events. */
export const RESERVE_BYTES = 16 * 1_048_576;
const CHUNK_BYTES = 1_048_576;

/**
 * A file of real blocks beside the database. On a full volume it is given up, so that what is in
 * flight can still be stored; requests are admitted again only when it stands again.
 */
export class ReserveFile {
  private readonly path: string;

  constructor(private readonly directory: string) {
    this.path = join(directory, 'spool.reserve');
  }

  /** Whether the whole reserve stands. */
  stands(): boolean {
    return existsSync(this.path) && statSync(this.path).size === RESERVE_BYTES;
  }

  /** Frees its room. */
  giveUp(): void {
    rmSync(this.path, { force: true });
  }

  /**
   * Writes it when it is missing and the volume has twice its size to spare, so that it does not take
   * back the room that it has just given up.
   * @returns whether it stands
   */
  restore(): boolean {
    if (this.stands()) return true;
    const { bavail, bsize } = statfsSync(this.directory);
    if (bavail * bsize < 2 * RESERVE_BYTES) return false;
    try {
      this.write();
      return true;
    } catch (error) {
      this.giveUp();
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return false;
      throw error;
    }
  }

  private write(): void {
    const chunk = Buffer.alloc(CHUNK_BYTES, 'tollgate');
    const file = openSync(this.path, 'w', 0o600);
    try {
      for (let written = 0; written < RESERVE_BYTES;) {
        written += writeSync(file, chunk, 0, Math.min(CHUNK_BYTES, RESERVE_BYTES - written));
      }
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  }
}
