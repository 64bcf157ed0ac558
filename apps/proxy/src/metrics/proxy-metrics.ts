import { Counter, Gauge, type Registry } from 'prom-client';

import type { AttemptStatus, RejectionReason } from '#libs/events';
import type { Spool } from '#libs/spool/core';

import type { ModelRoute } from '../admission/catalogue.js';
import type { HoldReleaser } from '../admission/hold-releaser.js';
import type { AttemptFacts } from '../attempt/attempt-record.js';
import type { InFlight } from '../attempt/drains.js';
import type { Figures } from '../attempt/settlement.js';
import { LabelledHistogram } from './labelled-histogram.js';

/** Parts of a request's time that are ours, not the upstream's. */
export type OverheadPhase = 'admit' | 'dispatch' | 'finish';

/** Every way an attempt can end, in a fixed order. */
const STATUSES: readonly AttemptStatus[] = [
  'ok',
  'partial',
  'refused',
  'provider_error',
  'timeout',
  'aborted',
  'unknown',
];

/** Upper bounds of the overhead histogram, seconds. */
const OVERHEAD_BUCKETS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5];

/**
 * Metrics of the data plane. Requests add to plain numbers in fixed places; labels are put together
 * only when somebody reads them.
 */
export class ProxyMetrics {
  private readonly requests = new Map<ModelRoute, Float64Array>();
  private readonly rejected = new Map<string, number>();
  private unrecordedRejections = 0;
  private readonly estimated = new Map<string, number>();
  private readonly quarantined = new Map<string, number>();
  private readonly overhead = new LabelledHistogram({
    name: 'proxy_overhead_seconds',
    help: 'Time of a request that is spent in the proxy',
    label: 'phase',
    values: ['admit', 'dispatch', 'finish'] satisfies OverheadPhase[],
    bounds: OVERHEAD_BUCKETS,
  });

  constructor(
    registry: Registry,
    spool: Pick<Spool, 'depth'>,
    inFlight: InFlight,
    releaser: Pick<HoldReleaser, 'pending'>,
  ) {
    const count = (
      name: string,
      help: string,
      labelNames: readonly string[],
      from: ReadonlyMap<string, number>,
    ): Counter =>
      new Counter({
        name,
        help,
        labelNames: [...labelNames],
        registers: [registry],
        collect() {
          this.reset();
          for (const [key, value] of from) this.labels(...key.split('\n')).inc(value);
        },
      });
    this.countRequests(registry);
    count('request_rejected_total', 'Requests refused before dispatch', ['reason'], this.rejected);
    this.countUnrecorded(registry);
    const by = ['provider', 'reason'];
    count('usage_estimated_total', 'Attempts charged by estimate', by, this.estimated);
    count(
      'usage_quarantined_total',
      'Attempts with unbelievable usage',
      ['provider'],
      this.quarantined,
    );
    this.overhead.registerIn(registry);
    const read = (name: string, help: string, value: () => number): Gauge =>
      new Gauge({
        name,
        help,
        registers: [registry],
        collect() {
          this.set(value());
        },
      });
    read('spool_rows', 'Events that wait for publication', () => spool.depth().unpublishedEvents);
    read('spool_bytes', 'Size of the spool file', () => spool.depth().sizeBytes);
    read(
      'spool_unpublished_bytes',
      'Bytes of events that wait for publication',
      () => spool.depth().unpublishedBytes,
    );
    read(
      'spool_cap_bytes',
      'Unpublished bytes at which no attempt is admitted',
      () => spool.depth().capBytes,
    );
    read('proxy_holds_to_release', 'Holds to be given back', () => releaser.pending());
    read('proxy_attempts_open', 'Attempts without a durable record', () => inFlight.count());
    read('proxy_drains_open', 'Answers read on for clients that left', () => inFlight.draining());
  }

  /** An attempt has its durable record. @param finishMs from the answer's end to the record */
  attemptEnded(
    facts: AttemptFacts,
    status: AttemptStatus,
    figures: Figures,
    finishMs: number,
  ): void {
    let counts = this.requests.get(facts.route);
    if (counts === undefined) {
      counts = new Float64Array(STATUSES.length * 2);
      this.requests.set(facts.route, counts);
    }
    counts[STATUSES.indexOf(status) * 2 + (facts.stream ? 1 : 0)]!++;
    const provider = facts.route.provider.name;
    if (figures.provenance !== 'measured')
      add(this.estimated, `${provider}\n${figures.provenance}`);
    if (figures.flags.includes('usage_quarantined')) add(this.quarantined, provider);
    this.phase('finish', finishMs);
  }

  /** A request was refused. @param reason `unknown_key` for one that makes no event */
  requestRejected(reason: RejectionReason | 'unknown_key'): void {
    add(this.rejected, reason);
  }

  /** A refusal leaves no event, because the spool does not take it. */
  rejectionUnrecorded(): void {
    this.unrecordedRejections += 1;
  }

  /** Time a request spent in one of our phases, milliseconds. */
  phase(phase: OverheadPhase, timeMs: number): void {
    this.overhead.observe(phase, timeMs / 1_000);
  }

  private countUnrecorded(registry: Registry): void {
    const value = (): number => this.unrecordedRejections;
    new Counter({
      name: 'request_rejected_unrecorded_total',
      help: 'Refusals without an event, because the spool did not take it',
      registers: [registry],
      collect() {
        this.reset();
        this.inc(value());
      },
    });
  }

  private countRequests(registry: Registry): void {
    const { requests } = this;
    new Counter({
      name: 'llm_requests_total',
      help: 'Upstream attempts by outcome',
      labelNames: ['provider', 'model', 'status', 'stream'],
      registers: [registry],
      collect() {
        this.reset();
        // A reloaded catalogue has new routes of the same names: their counts add up.
        for (const [{ provider, model }, counts] of requests) {
          for (const [index, value] of counts.entries()) {
            const stream = String(index % 2 === 1);
            const status = STATUSES[Math.floor(index / 2)]!;
            if (value > 0) this.labels(provider.name, model.id, status, stream).inc(value);
          }
        }
      },
    });
  }
}

function add(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
