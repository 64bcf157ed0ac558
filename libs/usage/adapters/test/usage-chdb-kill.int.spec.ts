import { fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, expect, test } from '@jest/globals';

import { sampleUsageRow } from '#libs/usage/samples';

import type { LedgerOrder } from './ledger-process.js';

// The embedded engine dies with its process, so a kill of the child is a kill of the engine in the
// middle of its work. What it had answered before must be there for the next process.

const dataDir = mkdtempSync(join(tmpdir(), 'tollgate-kill-'));
const sample = sampleUsageRow();

afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

function start(mode: LedgerOrder['mode'], count: number): ChildProcess {
  const child = fork(join(import.meta.dirname, 'ledger-process.js'), {
    execPath: process.execPath,
    execArgv: [],
    serialization: 'advanced',
  });
  const order: LedgerOrder = { mode, dataDir, count, sample };
  child.send(order);
  return child;
}

/** Kills the writer once it has answered so many batches, while it is busy with the next. */
function writeUntilKilled(batches: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = start('write', 0);
    child.on('message', (index) => {
      if (index === batches - 1) child.kill('SIGKILL');
    });
    child.on('exit', (_code, signal) => {
      if (signal === 'SIGKILL') resolve();
      else reject(new Error('the writer ended by itself'));
    });
  });
}

function check(count: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const child = start('check', count);
    let answer: unknown;
    child.on('message', (message) => {
      answer = message;
    });
    // Not its exit: what it sent before may still be on its way then.
    child.on('close', (code) => {
      if (code === 0) resolve(answer);
      else reject(new Error('the ledger could not be opened again'));
    });
  });
}

test('batches that were answered survive a SIGKILL, and the ledger takes more', async () => {
  await writeUntilKilled(5);
  expect(await check(5)).toEqual({ whole: [0, 1, 2, 3, 4], takesMore: true });
});

test('a writer that starts over after a SIGKILL stores every batch once', async () => {
  await writeUntilKilled(8);
  expect(await check(8)).toEqual({ whole: [0, 1, 2, 3, 4, 5, 6, 7], takesMore: true });
});
