import { spawnSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem } from 'node:os';

import { SystemClock, toRfc3339 } from '#libs/kernel';

import { versionOf } from './needed-tools.js';

/** Where and with what a run was made; kept with its figures. */
export interface MachineFacts {
  readonly startedAt: string;
  readonly commit: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryMib: number;
  readonly kernel: string;
  readonly node: string;
  readonly nginx: string;
  readonly wrk: string;
  /** Load average of the minute before; above 1 the figures are worth little. */
  readonly loadBefore: number;
}

/** Reads the facts of this machine. */
export function machineFacts(): MachineFacts {
  const git = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' });
  return {
    startedAt: toRfc3339(new SystemClock().nowMs()),
    commit: git.status === 0 ? git.stdout.trim() : 'unknown',
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryMib: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    node: process.version,
    nginx: versionOf('nginx') ?? 'unknown',
    wrk: versionOf('wrk') ?? 'unknown',
    loadBefore: Number(loadavg()[0]?.toFixed(2)),
  };
}
