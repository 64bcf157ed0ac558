import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { projectRoot } from '#libs/platform/config';

/** Ends a ClickHouse process of ours between a token's record and its part's rename, when set. */
export class RenameTrap {
  private constructor(
    private readonly folder: string,
    /** What the ClickHouse process is started with. */
    readonly environment: Readonly<Record<string, string>>,
    private readonly flag: string,
  ) {}

  /** Compiles it. @returns null on a machine without a C compiler */
  static make(): RenameTrap | null {
    const folder = mkdtempSync(join(tmpdir(), 'tollgate-test-trap-'));
    const library = join(folder, 'kill-at-rename.so');
    const source = join(projectRoot(), 'test', 'sink-worker', 'kill-at-rename.c');
    const flag = join(folder, 'armed');
    try {
      const args = ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl'];
      execFileSync('cc', args, { stdio: 'ignore' });
    } catch {
      // Without a compiler the same state is made on disk.
    }
    if (existsSync(library)) {
      return new RenameTrap(folder, { LD_PRELOAD: library, KILL_AT_RENAME: flag }, flag);
    }
    rmSync(folder, { recursive: true, force: true });
    return null;
  }

  set(): void {
    writeFileSync(this.flag, '');
  }

  lift(): void {
    rmSync(this.flag, { force: true });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
