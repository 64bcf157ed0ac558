import { Gauge, type Registry } from 'prom-client';

import type { Clock } from '#libs/kernel';
import type { LogSubscription, PartitionLag } from '../../../core/src/index.js';

type Label = 'group' | 'topic' | 'partition';

/** A subscription and the group it belongs to. */
interface Watched {
  readonly group: string;
  readonly subscription: LogSubscription;
}

/** One set of gauges per registry: the servers of one process share it. */
const ofRegistry = new WeakMap<Registry, LogLagMetrics>();

/**
 * `event_log_lag_events` and `event_log_lag_seconds` of the partitions that this process holds, read
 * when the metrics are. Events: records that are not resolved, of those the log held when it last
 * answered (a quarter of a second ago while it answers). Seconds: since the append of the oldest of
 * them, on this machine's clock; 0 when there is none. A partition whose owner has not said yet where
 * it reads on shows no events. `event_log_unreadable` tells the partitions that the log does not give.
 */
export class LogLagMetrics {
  private readonly watched = new Set<Watched>();
  private constructor(
    registry: Registry,
    private readonly clock: Clock,
  ) {
    const labelNames: Label[] = ['group', 'topic', 'partition'];
    const registers = [registry];
    const seconds: Gauge<Label> = new Gauge({
      name: 'event_log_lag_seconds',
      help: 'Age of the oldest record that a consumer has not dealt with.',
      labelNames,
      registers,
      collect: () =>
        this.show(seconds, ({ oldestAppendedAtMs }) => this.ageSeconds(oldestAppendedAtMs)),
    });
    const events: Gauge<Label> = new Gauge({
      name: 'event_log_lag_events',
      help: 'Records that a consumer has not dealt with, as far as it knows.',
      labelNames,
      registers,
      collect: () => this.show(events, (lag) => (lag.events === null ? null : Number(lag.events))),
    });
    const unreadable: Gauge<Label> = new Gauge({
      name: 'event_log_unreadable',
      help: '1 while the log does not give the records of a partition, which is tried again and again.',
      labelNames,
      registers,
      collect: () => this.show(unreadable, (lag) => (lag.unreadable === null ? 0 : 1)),
    });
  }

  /** The metrics of a registry, made at the first call. */
  static of(registry: Registry, clock: Clock): LogLagMetrics {
    let metrics = ofRegistry.get(registry);
    if (metrics === undefined) {
      metrics = new LogLagMetrics(registry, clock);
      ofRegistry.set(registry, metrics);
    }
    return metrics;
  }

  /** @returns a function that forgets the subscription */
  watch(group: string, subscription: LogSubscription): () => void {
    const watched = { group, subscription };
    this.watched.add(watched);
    return () => this.watched.delete(watched);
  }

  private show(gauge: Gauge<Label>, figure: (lag: PartitionLag) => number | null): void {
    // What another member holds now is that member's to tell.
    gauge.reset();
    for (const { group, subscription } of this.watched) {
      for (const lag of subscription.lag()) {
        const { topic, partition } = lag;
        const value = figure(lag);
        if (value !== null) gauge.set({ group, topic, partition: String(partition) }, value);
      }
    }
  }

  private ageSeconds(appendedAtMs: number | null): number {
    return appendedAtMs === null ? 0 : Math.max(0, this.clock.nowMs() - appendedAtMs) / 1_000;
  }
}
