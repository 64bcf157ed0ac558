/**
 * Guarantee: a merge that is killed before, between or within any of its statements changes no figure,
 * and the next one merges what it left, once.
 * Method: the embedded engine in a process of its own, which the kill takes along.
 */
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, expect, test } from '@jest/globals';

import { sampleUsageRow } from '#libs/usage/samples';

import type { MergeAnswer, MergeTask } from './merge-process.js';

const dataDir = mkdtempSync(join(tmpdir(), 'tollgate-merge-'));
const sample = sampleUsageRow();

afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

/** Runs a process to its end, or to the kill it was told. */
function run(task: Pick<MergeTask, 'batches' | 'killAt' | 'killAfterMs'>): Promise<{
  readonly answer: Partial<MergeAnswer>;
  readonly wasKilled: boolean;
}> {
  return new Promise((resolve, reject) => {
    const child = fork(join(import.meta.dirname, 'merge-process.js'), {
      execPath: process.execPath,
      execArgv: [],
      serialization: 'advanced',
    });
    let answer: Partial<MergeAnswer> = {};
    child.on('message', (message) => {
      answer = message as Partial<MergeAnswer>;
    });
    // Not its exit: what it sent before may still be on its way then.
    child.on('close', (code, signal) => {
      if (code === 0 || signal === 'SIGKILL') resolve({ answer, wasKilled: code !== 0 });
      else reject(new Error('the process failed'));
    });
    child.send({ dataDir, sample, ...task } satisfies MergeTask);
  });
}

const figures = (batches: number): string => `${2 * batches} ${2 * batches}`;

/** Each statement of a merge, in order; those that write also while they run. */
const KILLS = [
  ['usage.merge_version', 0],
  ['usage.merge_candidates', 0],
  ['usage.merge_note_batches', 0],
  ['usage.merge_note_batches', 2],
  ['usage.merge_noted', 0],
  ['usage.merge_cells', 0],
  ['usage.merge_cells', 3],
  ['usage.merge_merged', 0],
  ['usage.merge_days', 0],
  ['usage.merge_days', 3],
  ['usage.merge_merged_days', 0],
  ['usage.merge_decide', 0],
  ['usage.merge_decide', 1],
  ['usage.merge_decide', 4],
  ['usage.merge_decision', 0],
] as const;

test('kills at every statement of a merge leave the figures, and every batch is merged once in the end', async () => {
  let inForce = 0;
  for (const [index, [killAt, killAfterMs]] of KILLS.entries()) {
    const { answer, wasKilled } = await run({ batches: index, killAt, killAfterMs });
    expect([killAt, answer.found]).toEqual([killAt, figures(index)]);
    expect(wasKilled || killAfterMs > 0).toBe(true);
    if (!wasKilled) inForce += answer.merged ?? 0;
  }
  const last = await run({ batches: KILLS.length, killAt: null, killAfterMs: 0 });
  expect(last.answer.found).toBe(figures(KILLS.length));
  expect(last.answer.left).toBe(figures(KILLS.length + 1));
  expect(last.answer.merged).toBeLessThanOrEqual(KILLS.length + 1 - inForce);
  const after = await run({ batches: KILLS.length + 1, killAt: null, killAfterMs: 0 });
  expect(after.answer).toMatchObject({ left: figures(KILLS.length + 2), merged: 1 });
});
