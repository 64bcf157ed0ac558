import { open, type FileHandle } from 'node:fs/promises';

/**
 * Brings the write-ahead log to disk without the writer. With `ack: 'process'` no commit does it; but
 * what is published has to outlive a power loss, or the next start would give its sequence to another
 * event, which every reader of the log would take for a repeat. Locks stand on the database, so that a
 * further handle of the log disturbs none.
 */
export class LogSync {
  private handle: Promise<FileHandle> | null = null;

  constructor(private readonly path: string) {}

  /** Resolves when everything committed before the call is on disk. */
  async sync(): Promise<void> {
    this.handle ??= open(this.path, 'r');
    await (await this.handle).datasync();
  }

  async close(): Promise<void> {
    const { handle } = this;
    this.handle = null;
    await (await handle)?.close();
  }
}
