import type { EventLog, LogBatch } from '#libs/event-log/core';
import type { Clock, Random } from '#libs/kernel';
import { OutboxWriter, type Database } from '#libs/platform/postgres';
import type { Logger, Runtime } from '#libs/platform/telemetry';
import type { UsageStore } from '#libs/usage/core';

import { AdaptiveLinger } from '../domain/adaptive-linger.js';
import { consumeUsageBatch } from '../consumers/consume-usage-batch.js';
import { BatchSink } from './batch-sink.js';
import { MeteringMetrics } from './metering-metrics.js';
import { MeteringOwner } from './metering-owner.js';
import { PartitionHealth } from './partition-health.js';
import { PriceCopies, type PriceSource } from './price-copies.js';

/** What the sink is opened on; all of it outlives the sink. */
export interface SinkParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Where its counters are registered. */
  readonly metrics: Runtime['metrics'];
  /** `LOG_PARTITIONS`. */
  readonly logPartitions: number;
  /** Acts as role `tollgate_metering`. */
  readonly database: Database;
  readonly eventLog: EventLog;
  /** The ledger, already at its schema. */
  readonly usageStore: UsageStore;
  readonly prices: PriceSource;
  /** How long a batch waits for more records while there is little to do, milliseconds. @default 0 */
  readonly lingerMs?: number;
  /** How long an unknown price is waited for, milliseconds. @default 30000 */
  readonly priceWaitMs?: number;
}

/** The way from the log to the ledger, without any framework around it. */
export interface UsageSink {
  /** Offsets and fences of the subscription. */
  readonly owner: MeteringOwner;
  readonly sink: BatchSink;
  readonly health: PartitionHealth;
  readonly metrics: MeteringMetrics;
  /** Where batches leave their messages; whoever wants them sent runs a relay over it. */
  readonly outbox: OutboxWriter;
  readonly prices: PriceCopies;
  /** How long the subscription waits for a batch to grow: `SubscribeOptions.lingerMs`. */
  readonly lingerMs: () => number;
  /** The handler of a subscription to `request.completed` and `request.rejected`. */
  readonly handle: (batch: LogBatch) => Promise<void>;
}

/**
 * Opens the sink: `eventLog.subscribe({ owner, handle, ... })` makes it run, `owner.stop()` ends the
 * waits inside it.
 */
export function openSink(parts: SinkParts): UsageSink {
  const { clock, random, logger, logPartitions, database, eventLog, usageStore } = parts;
  const metrics = new MeteringMetrics(parts.metrics);
  const health = new PartitionHealth(metrics, clock);
  const outbox = new OutboxWriter();
  const prices = new PriceCopies(database, parts.prices, clock, parts.priceWaitMs);
  const sink = new BatchSink({
    database,
    eventLog,
    usageStore,
    prices,
    outbox,
    clock,
    random,
    logger,
    metrics,
    logPartitions,
  });
  const owner = new MeteringOwner({
    database,
    eventLog,
    sink,
    health,
    outbox,
    clock,
    logger,
    logPartitions,
  });
  const linger = new AdaptiveLinger(parts.lingerMs ?? 0);
  const consume = { sink, health, metrics, clock, linger };
  return {
    owner,
    sink,
    health,
    metrics,
    outbox,
    prices,
    lingerMs: () => {
      const waitMs = linger.waitAt(clock.monotonicMs());
      metrics.lingerSeconds.set(waitMs / 1_000);
      return waitMs;
    },
    handle: (batch) => consumeUsageBatch(consume, batch),
  };
}
