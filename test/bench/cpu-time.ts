import { readdirSync, readFileSync } from 'node:fs';

/** Ticks per second in `/proc/<pid>/stat`: 100 in Linux on x86 and ARM. @source proc(5), time(7) */
const TICKS_PER_SECOND = 100;

/** User and system time of processes so far, microseconds; threads included. */
export function cpuTimeUs(pids: readonly number[]): number {
  const ticks = pids.reduce((sum, pid) => sum + ticksOf(pid), 0);
  return (ticks * 1_000_000) / TICKS_PER_SECOND;
}

function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

/** The children of a process, for servers that fork their workers. */
export function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((candidate) => parentOf(candidate) === pid);
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    // The process ended between the listing and the read.
    return undefined;
  }
}
