import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const MIB = 1024 * 1024;

/** A folder on a disk of its own, of limited size, that a test can fill. */
export class ClusterDisk {
  private constructor(
    readonly path: string,
    private readonly isMounted: boolean,
  ) {}

  /**
   * Makes the folder; as root it is a file system in memory, otherwise a plain folder that cannot be
   * filled.
   */
  static open(path: string, sizeMib: number): ClusterDisk {
    mkdirSync(path, { recursive: true });
    const isMounted = process.getuid?.() === 0 && mount(path, sizeMib);
    return new ClusterDisk(path, isMounted);
  }

  /** Whether `fill` can be asked for. */
  get canBeFilled(): boolean {
    return this.isMounted;
  }

  /** Leaves so many bytes free. @throws Error of a plain folder */
  fill(freeBytes = 0): void {
    if (!this.isMounted) throw new Error('a plain folder is never filled');
    const { bavail, bsize } = statfsSync(this.path);
    const sizeBytes = Math.max(0, bavail * bsize - freeBytes);
    writeFileSync(this.filler(), Buffer.alloc(sizeBytes));
  }

  /** Gives the space back. */
  empty(): void {
    rmSync(this.filler(), { force: true });
  }

  /** Takes the file system away with all that is on it. */
  close(): void {
    if (!this.isMounted) return;
    execFileSync('umount', ['-l', this.path]);
  }

  private filler(): string {
    return join(this.path, 'filler.bin');
  }
}

function mount(path: string, sizeMib: number): boolean {
  try {
    const options = `size=${sizeMib * MIB},mode=0777`;
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path], { stdio: 'ignore' });
    return true;
  } catch {
    // A container without the right to mount: the cases that need it say so.
    return false;
  }
}
