import { createHash } from 'node:crypto';

import { formatUuid, picoUsd } from '#libs/kernel';
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import {
  ClickHouseLedgerUpkeep,
  ClickHouseUsageReader,
  ClickHouseUsageStore,
} from '#libs/usage/adapters';
import {
  cellsOf,
  digestOfUsage,
  HOUR_MS,
  hoursOf,
  monthOf,
  type UsageFilter,
  type UsageRow,
} from '#libs/usage/core';

import { watchedEngine } from './watched-engine.js';

/** What the parent asks for. */
export interface MergeTask {
  readonly dataDir: string;
  /** Batches that earlier processes sealed; this one seals the next and merges. */
  readonly batches: number;
  readonly sample: UsageRow;
  /** The statement of the merge at which the process kills itself; null = it lives. */
  readonly killAt: string | null;
  /** Milliseconds after the statement was sent; 0 = before. */
  readonly killAfterMs: number;
}

/** What the process saw: attempts and charge in pico-dollars before it did anything, and at its end. */
export interface MergeAnswer {
  readonly found: string;
  readonly left: string;
  readonly merged: number;
}

async function carryOut(task: MergeTask): Promise<void> {
  const engine = new ClickHouseEngine({ target: { kind: 'embedded', dataDir: task.dataDir } });
  const watched = watchedEngine(engine, (name) => {
    if (name !== task.killAt) return;
    const kill = (): boolean => process.kill(process.pid, 'SIGKILL');
    if (task.killAfterMs === 0) kill();
    setTimeout(kill, task.killAfterMs);
  });
  const store = new ClickHouseUsageStore(engine);
  const reader = new ClickHouseUsageReader(engine);
  const upkeep = new ClickHouseLedgerUpkeep(watched);
  await store.migrate();
  const figures = async (): Promise<string> => {
    const startMs = Math.floor(task.sample.occurredAtMs / HOUR_MS) * HOUR_MS;
    const filter: UsageFilter = {
      orgId: task.sample.orgId,
      startMs,
      endMs: startMs + 4 * HOUR_MS,
      keyIds: [],
      teamIds: [],
      userIds: [],
      models: [],
      providers: [],
    };
    const [sums] = await reader.sums({ ...filter, bucket: 'none', groupBy: [], maxRows: 9 });
    return `${sums?.requests ?? 0} ${sums?.chargePicoUsd ?? 0n}`;
  };
  const found = await figures();
  process.send?.({ found });
  await seal(store, task);
  let merged = 0;
  for (let after = null, run = 0; ; run += 1) {
    const name = `run-${task.batches}-${run}`;
    const beforeMs = task.sample.occurredAtMs + 10 * HOUR_MS;
    const done = await upkeep.mergeClosed({ beforeMs, after, run: name });
    merged += done.batches;
    if (done.next === null) break;
  }
  process.send?.({ found, left: await figures(), merged });
  for (const one of [upkeep, reader, store]) await one.close();
  process.disconnect();
}

/** Batch number n has two rows in hours 0 and n mod 3; a late one after every merge. */
async function seal(store: ClickHouseUsageStore, { batches, sample }: MergeTask): Promise<void> {
  const batchId = createHash('sha256').update(`batch ${batches}`).digest('hex');
  const rows = [0, batches % 3].map((hour, row) => ({
    ...sample,
    eventId: formatUuid(createHash('sha256').update(`${batches}/${row}`).digest()),
    occurredAtMs: sample.occurredAtMs + hour * HOUR_MS,
    chargePicoUsd: picoUsd(1n),
  }));
  const month = monthOf(sample.recordedAtMs);
  await store.insertUsage({ batchId, token: batchId }, rows);
  await store.insertCells({ batchId, token: `${batchId}:roll` }, month, cellsOf(rows));
  const { xor64: _xor, ...sums } = digestOfUsage(rows);
  const place = { topic: 'request.completed', partition: 0, month };
  await store.insertSeals(
    [{ batchId, ...place, ...sums, ...hoursOf(rows) }],
    sample.recordedAtMs + batches,
  );
}

process.once('message', (task) => {
  carryOut(task as MergeTask).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exit(1);
  });
});
