/**
 * Prints what the three inserts of a batch cost on the embedded engine, milliseconds (median of the
 * rounds): rows, rollup cells, seal. Run by hand: `node dist/libs/usage/adapters/test/batch-cost.child.js`.
 */
import { createHash, randomUUID } from 'node:crypto';

import { openChdbDatabase } from '#libs/testing';
import { ClickHouseUsageStore } from '#libs/usage/adapters';
import { picoUsd } from '#libs/kernel';
import { cellsOf, digestOfUsage, hoursOf, type BatchSeal, type UsageRow } from '#libs/usage/core';

const ROUNDS = 30;
const SHAPES = [
  { rows: 1, keys: 1 },
  { rows: 100, keys: 20 },
  { rows: 5_000, keys: 200 },
];

/** 2026-11-20T10:00:00Z and its month. */
const TIME_MS = Date.UTC(2026, 10, 20, 10);
const MONTH = 202611;

function rowOf(keyId: string): UsageRow {
  return {
    eventId: randomUUID(),
    requestId: randomUUID(),
    attempt: 1,
    final: true,
    orgId: 'default',
    keyId,
    teamId: null,
    userId: 'alice',
    provider: 'openai',
    modelRequested: 'gpt-4o-mini',
    model: 'gpt-4o-mini',
    modelServed: null,
    operation: 'chat',
    stream: false,
    serviceTier: null,
    status: 'ok',
    httpStatus: 200,
    provenance: 'measured',
    usageSource: 'provider_final',
    source: 'proxy',
    rawUsage: '{"prompt_tokens":100,"completion_tokens":20}',
    usage: { input_text: 100, output_text: 20 },
    tokensIn: 100,
    tokensOut: 20,
    priceId: 'ab'.repeat(32),
    priceVersion: 'v1',
    priceState: 'priced',
    costPicoUsd: picoUsd(27_000_000n),
    chargePicoUsd: picoUsd(30_000_000n),
    holdPicoUsd: picoUsd(90_000_000n),
    holdId: randomUUID(),
    flags: [],
    finishReason: 'stop',
    admittedAtMs: TIME_MS - 500,
    occurredAtMs: TIME_MS,
    recordedAtMs: TIME_MS,
    latencyMs: 480,
    ttftMs: null,
    upstreamRequestId: null,
    emitterId: 'ee'.repeat(16),
    lane: 0,
    emitterSeq: 1n,
  };
}

function sealOf(batchId: string, rows: readonly UsageRow[]): BatchSeal {
  const { xor64: _xor, ...sums } = digestOfUsage(rows);
  const place = { topic: 'request.completed', partition: 0, month: MONTH };
  return { batchId, ...place, ...sums, ...hoursOf(rows) };
}

const { engine, drop } = openChdbDatabase();
const store = new ClickHouseUsageStore(engine);

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

function median(values: readonly number[]): string {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!.toFixed(1);
}

await store.migrate();
for (const { rows: count, keys } of SHAPES) {
  const times: Record<'rows' | 'cells' | 'seal' | 'compute', number[]> = {
    rows: [],
    cells: [],
    seal: [],
    compute: [],
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    const batchId = createHash('sha256').update(randomUUID()).digest('hex');
    const rows = Array.from({ length: count }, (_, n) => rowOf(`key-${n % keys}`));
    const key = { batchId, token: batchId };
    times.rows.push(await timed(() => store.insertUsage(key, rows)));
    let cells = cellsOf([]);
    times.compute.push(
      await timed(async () => {
        cells = cellsOf(rows);
      }),
    );
    const roll = { batchId, token: `${batchId}:roll` };
    times.cells.push(await timed(() => store.insertCells(roll, MONTH, cells)));
    const seal = sealOf(batchId, rows);
    times.seal.push(await timed(() => store.insertSeals([seal], TIME_MS + round)));
  }
  const told = Object.entries(times).map(([name, values]) => `${name} ${median(values)} ms`);
  process.stdout.write(`${count} rows of ${keys} keys: ${told.join(', ')}\n`);
}
await store.close();
await drop();
