/**
 * G9: processor time of ClickHouse for a batch with its rollup and its seal beside the rows alone, at
 * few and at many active keys; merges are stopped.
 */
import { createHash } from 'node:crypto';

import { formatUuid } from '#libs/kernel';
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import { startTestClickHouse } from '#libs/testing';
import { ClickHouseUsageStore } from '#libs/usage/adapters';
import { cellsOf, digestOfUsage, hoursOf, type BatchSeal, type UsageRow } from '#libs/usage/core';
import { SAMPLE_MONTH, SAMPLE_TIME_MS, sampleUsageRow } from '#libs/usage/samples';

import { cpuTimeUs } from '../cpu-time.js';
import { estimate, shuffled } from '../statistics.js';
import type { PartOptions, PartResult, PipelineFigure } from './part.js';

/** Rows of one batch: the most that one insert takes. */
const BATCH_ROWS = 50_000;
/** Batches of one measurement; 100,000 keys take turns over two of them. */
const BATCHES = 2;
const SHAPES = [
  { keys: 1_000, floor: 1.4 },
  { keys: 100_000, floor: 3 },
] as const;

interface InsertRun {
  readonly keys: number;
  readonly withRollup: boolean;
  readonly round: number;
  readonly cpuUsPerRow: number;
}

/** Measures both ways at both numbers of keys in every round, in random order. */
export async function measureInserts({ rounds, random, say }: PartOptions): Promise<PartResult> {
  const server = await startTestClickHouse({ isOwn: true });
  const engine = new ClickHouseEngine({ target: { kind: 'server', url: server.url } });
  const store = new ClickHouseUsageStore(engine);
  const runs: InsertRun[] = [];
  try {
    await store.migrate();
    await fetch(server.url, { method: 'POST', body: 'SYSTEM STOP MERGES' });
    const turns = SHAPES.flatMap(({ keys }) => [
      { keys, withRollup: false },
      { keys, withRollup: true },
    ]);
    // One round apart warms the engine.
    for (let round = 0; round <= rounds; round += 1) {
      for (const turn of shuffled(turns, random)) {
        const batches = Array.from({ length: BATCHES }, (_, nth) =>
          rowsOf(`${round}/${turn.keys}/${turn.withRollup}`, turn.keys, nth),
        );
        const before = cpuTimeUs([server.process!.pid]);
        for (const { batchId, rows } of batches) await write(store, batchId, rows, turn.withRollup);
        const spentUs = cpuTimeUs([server.process!.pid]) - before;
        if (round > 0) runs.push({ ...turn, round, cpuUsPerRow: spentUs / (BATCHES * BATCH_ROWS) });
      }
      say(`inserts: round ${round} of ${rounds}`);
    }
  } finally {
    await store.close();
    await server.stop();
  }
  return { figures: SHAPES.flatMap((shape) => figuresOf(runs, shape, random)), runs };
}

function rowsOf(
  name: string,
  keys: number,
  nth: number,
): { readonly batchId: string; readonly rows: readonly UsageRow[] } {
  const batchId = createHash('sha256').update(`${name}/${nth}`).digest('hex');
  const rows = Array.from({ length: BATCH_ROWS }, (_, row) => {
    const key = (nth * BATCH_ROWS + row) % keys;
    const id = createHash('sha256').update(`${batchId}/${row}`).digest();
    return sampleUsageRow({
      eventId: formatUuid(id.subarray(0, 16)),
      requestId: formatUuid(id.subarray(16, 32)),
      keyId: `${key.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`,
      teamId: `team-${key % 20}`,
      userId: `user-${key % 200}`,
      model: `model-${key % 4}`,
    });
  });
  return { batchId, rows };
}

async function write(
  store: ClickHouseUsageStore,
  batchId: string,
  rows: readonly UsageRow[],
  withRollup: boolean,
): Promise<void> {
  await store.insertUsage({ batchId, token: batchId }, rows);
  if (!withRollup) return;
  await store.insertCells({ batchId, token: `${batchId}:roll` }, SAMPLE_MONTH, cellsOf(rows));
  const { xor64: _xor, ...sums } = digestOfUsage(rows);
  const place = { topic: 'request.completed', partition: 0, month: SAMPLE_MONTH };
  const seal: BatchSeal = { batchId, ...place, ...sums, ...hoursOf(rows) };
  await store.insertSeals([seal], SAMPLE_TIME_MS);
}

function figuresOf(
  runs: readonly InsertRun[],
  { keys, floor }: (typeof SHAPES)[number],
  random: () => number,
): PipelineFigure[] {
  const of = (withRollup: boolean) =>
    runs.filter((run) => run.keys === keys && run.withRollup === withRollup);
  const raw = new Map(of(false).map((run) => [run.round, run.cpuUsPerRow]));
  const ratios = of(true).map((run) => run.cpuUsPerRow / raw.get(run.round)!);
  return [
    {
      id: 'G9',
      text: `insert with rollup and seal / rows alone, ${keys} keys`,
      value: estimate(ratios, random),
      floor: { limit: floor, isUpper: true },
    },
    {
      id: '',
      text: `rows alone, CPU-us per row, ${keys} keys`,
      value: estimate([...raw.values()], random),
      floor: null,
    },
  ];
}
