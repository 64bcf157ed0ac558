import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

const MIB = 1024 * 1024;
/** What is mounted where, on Linux. */
const MOUNTS = '/proc/mounts';

/** Unmounts and removes what clusters of processes that were killed have left behind. */
export function sweepClusters(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = CLUSTER_FOLDER.exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    const folder = join(parent, name);
    const mounts = existsSync(MOUNTS) ? readFileSync(MOUNTS, 'utf8') : '';
    for (const line of mounts.split('\n')) {
      const path = line.split(' ')[1] ?? '';
      if (path.startsWith(`${folder}/`)) execFileSync('umount', ['-l', path]);
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The name of a cluster's folder; it tells whose it is. */
export function clusterFolderPrefix(): string {
  return `tollgate-cluster-${process.pid}-`;
}

const CLUSTER_FOLDER = /^tollgate-cluster-(\d+)-/;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

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

  /** Leaves no byte free. @throws Error of a plain folder */
  fill(): void {
    if (!this.isMounted) throw new Error('a plain folder is never filled');
    const file = openSync(this.filler(), 'a');
    const block = Buffer.alloc(MIB);
    try {
      // Others write meanwhile: only a refused write tells that nothing is left.
      for (let size = block.length; size >= 1; size = Math.floor(size / 2)) {
        while (canWrite(file, block.subarray(0, size))) continue;
      }
    } finally {
      closeSync(file);
    }
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

function canWrite(file: number, bytes: Buffer): boolean {
  try {
    return writeSync(file, bytes) === bytes.length;
  } catch {
    return false;
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
