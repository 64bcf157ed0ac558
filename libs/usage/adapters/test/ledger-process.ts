import { createHash } from 'node:crypto';

import { formatUuid } from '#libs/kernel';
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import { ClickHouseUsageStore } from '#libs/usage/adapters';
import {
  digestOfUsage,
  isSameDigest,
  monthOf,
  type BatchKey,
  type UsageRow,
} from '#libs/usage/core';

/** What the parent asks for, with a row to make others from. */
export interface LedgerOrder {
  /** `write`: batch after batch until killed. `check`: compare the first batches, then write one. */
  readonly mode: 'write' | 'check';
  readonly dataDir: string;
  /** Batches to compare. */
  readonly count: number;
  readonly sample: UsageRow;
}

/** Rows of each batch; ids are derived, so that every process knows what a batch amounts to. */
const ROWS = 200;

/** Number of the batch that `check` adds; no writer gets that far. */
const ADDED = 1_000_000;

async function obey(order: LedgerOrder): Promise<void> {
  const target = { kind: 'embedded', dataDir: order.dataDir } as const;
  const store = new ClickHouseUsageStore(new ClickHouseEngine({ target }));
  await store.migrate();
  const write = (index: number): Promise<void> =>
    store.insertUsage(keyOf(index), rowsOf(order.sample, index));
  const isWhole = async (index: number): Promise<boolean> =>
    isSameDigest(
      await store.digestOf('usage', keyOf(index).batchId, [monthOf(order.sample.recordedAtMs)]),
      digestOfUsage(rowsOf(order.sample, index)),
    );

  for (let index = 0; order.mode === 'write'; index += 1) {
    await write(index);
    process.send?.(index);
  }
  const whole: number[] = [];
  for (let index = 0; index < order.count; index += 1) if (await isWhole(index)) whole.push(index);
  await write(ADDED);
  process.send?.({ whole, takesMore: await isWhole(ADDED) });
  await store.close();
  process.disconnect();
}

function keyOf(index: number): BatchKey {
  const batchId = createHash('sha256').update(`batch ${index}`).digest('hex');
  return { batchId, token: batchId };
}

function rowsOf(sample: UsageRow, index: number): readonly UsageRow[] {
  return Array.from({ length: ROWS }, (_, row) => ({
    ...sample,
    eventId: formatUuid(createHash('sha256').update(`${index}/${row}`).digest()),
  }));
}

process.once('message', (order) => {
  obey(order as LedgerOrder).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exit(1);
  });
});
