import { Gauge, type Registry } from 'prom-client';

import type { Clock } from '#libs/kernel';
import type { LogSubscription, PartitionLag } from '../../../core/src/index.js';

type Label = 'group' | 'topic' | 'partition';

/** A subscription and the group it belongs to. */
interface Watched {
  readonly group: string;
  readonly subscription: LogSubscription;
}

/** One pair of gauges per registry: the servers of one process share it. */
const ofRegistry = new WeakMap<Registry, LogLagMetrics>();

/**
 * `event_log_lag_events` and `event_log_lag_seconds` of the partitions that this process holds, read
 * when the metrics are. The seconds are those since the append of the oldest record in the handler's
 * hands, on this machine's clock; 0 when there is none.
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
      help: 'Age of the oldest record that a consumer has in hand.',
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
      collect: () => this.show(events, (lag) => Number(lag.events)),
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

  private show(gauge: Gauge<Label>, figure: (lag: PartitionLag) => number): void {
    // What another member holds now is that member's to tell.
    gauge.reset();
    for (const { group, subscription } of this.watched) {
      for (const lag of subscription.lag()) {
        const { topic, partition } = lag;
        gauge.set({ group, topic, partition: String(partition) }, figure(lag));
      }
    }
  }

  private ageSeconds(appendedAtMs: number | null): number {
    return appendedAtMs === null ? 0 : Math.max(0, this.clock.nowMs() - appendedAtMs) / 1_000;
  }
}
