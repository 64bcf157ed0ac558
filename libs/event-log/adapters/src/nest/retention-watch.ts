import { Gauge, type Registry } from 'prom-client';

import { messageOf } from '#libs/kernel';
import type { Runtime } from '#libs/platform/telemetry';
import type { EventLog, LogSubscription } from '../../../core/src/index.js';

type Label = 'group' | 'topic' | 'partition';

/** What the watch needs of its process. */
export type RetentionRuntime = Pick<Runtime, 'clock' | 'logger' | 'metrics' | 'health'>;

/** Share of the retention after which unread records are at risk. */
const RISK_SHARE = 0.5;
/** Pause between two looks, milliseconds; retentions are days. */
const EVERY_MS = 30_000;

/** One gauge per registry: the servers of one process share it. */
const ofRegistry = new WeakMap<Registry, Gauge<Label>>();

/**
 * Raises the alarm while the oldest record that a consumer has not dealt with is older than half of
 * what the log keeps: `event_log_retention_at_risk` is 1, an error is logged when it begins, and
 * readiness notes it. A log that never drops what is unread raises none.
 */
export class RetentionWatch {
  /** The verdict on each partition held, by `topic/partition`. */
  private readonly verdicts = new Map<string, boolean>();
  private readonly gauge: Gauge<Label>;
  private timer: NodeJS.Timeout | undefined;
  private forgetNote: (() => void) | undefined;

  constructor(
    private readonly eventLog: Pick<EventLog, 'retentionMs'>,
    private readonly runtime: RetentionRuntime,
    private readonly group: string,
    private readonly subscriptions: () => readonly LogSubscription[],
  ) {
    this.gauge = gaugeOf(runtime.metrics);
  }

  start(): void {
    this.forgetNote = this.runtime.health.note(`event_log.${this.group}`, () => this.note());
    this.timer = setInterval(() => void this.look(), EVERY_MS);
    this.timer.unref();
  }

  stop(): void {
    clearInterval(this.timer);
    this.forgetNote?.();
  }

  /** Compares every partition held now with the retention of its topic. */
  async look(): Promise<void> {
    const nowMs = this.runtime.clock.nowMs();
    const held = this.subscriptions().flatMap((subscription) => subscription.lag());
    const known = new Set(held.map(({ topic, partition }) => `${topic}/${partition}`));
    // What another member holds now is that member's to tell.
    for (const name of this.verdicts.keys()) if (!known.has(name)) this.forget(name);
    for (const { topic, partition, oldestAppendedAtMs } of held) {
      const ageMs = oldestAppendedAtMs === null ? 0 : nowMs - oldestAppendedAtMs;
      try {
        this.judge(topic, partition, ageMs, await this.eventLog.retentionMs(topic));
      } catch (error) {
        // The partition's reader reports brokers that are away; the last verdict stands.
        const reason = messageOf(error);
        this.runtime.logger.debug({ topic, reason }, 'the retention is not known');
      }
    }
  }

  private judge(topic: string, partition: number, ageMs: number, retentionMs: number | null): void {
    const name = `${topic}/${partition}`;
    const labels = { group: this.group, topic, partition: String(partition) };
    const isAtRisk = retentionMs !== null && ageMs > RISK_SHARE * retentionMs;
    this.gauge.set(labels, isAtRisk ? 1 : 0);
    if (isAtRisk && this.verdicts.get(name) !== true) {
      const figures = { ageSeconds: ageMs / 1_000, retentionSeconds: retentionMs / 1_000 };
      this.runtime.logger.error(
        { ...labels, ...figures },
        'event_log_retention_at_risk: unread records will be dropped unless the consumer catches up',
      );
    }
    this.verdicts.set(name, isAtRisk);
  }

  private forget(name: string): void {
    this.verdicts.delete(name);
    const [topic, partition] = name.split('/') as [string, string];
    this.gauge.remove({ group: this.group, topic, partition });
  }

  private note(): string | null {
    const names = [...this.verdicts].filter(([, isAtRisk]) => isAtRisk).map(([name]) => name);
    if (names.length === 0) return null;
    return `unread records near the end of their retention: ${names.toSorted().join(', ')}`;
  }
}

function gaugeOf(registry: Registry): Gauge<Label> {
  let gauge = ofRegistry.get(registry);
  if (gauge === undefined) {
    gauge = new Gauge({
      name: 'event_log_retention_at_risk',
      help: '1 while the oldest unread record is older than half of the retention of its topic.',
      labelNames: ['group', 'topic', 'partition'],
      registers: [registry],
    });
    ofRegistry.set(registry, gauge);
  }
  return gauge;
}
