import { Counter, Gauge, type Registry } from 'prom-client';

/** How the jobs of one name stand in the whole deployment. */
export interface QueueStanding {
  /** Waiting or delayed. */
  readonly waiting: number;
  /** Set aside after the last attempt. */
  readonly failed: number;
  /** Age of the oldest one that waits, seconds; 0 when none does. */
  readonly oldestSeconds: number;
}

/** What is counted about jobs, by name. */
export class JobMetrics {
  private readonly up: Gauge;
  private readonly waiting: Gauge<'job'>;
  private readonly failed: Gauge<'job'>;
  private readonly oldest: Gauge<'job'>;
  private readonly added: Counter<'job'>;
  private readonly notAdded: Counter<'job' | 'reason'>;
  private readonly runs: Counter<'job' | 'outcome'>;

  constructor(registry: Registry) {
    const registers = [registry];
    const labelNames = ['job'] as const;
    this.up = new Gauge({
      name: 'jobs_engine_up',
      help: 'Whether the engine of the jobs answered last time (1 or 0).',
      registers,
    });
    this.waiting = new Gauge({
      name: 'jobs_waiting',
      help: 'Jobs that wait to be run, delayed ones included.',
      labelNames,
      registers,
    });
    this.failed = new Gauge({
      name: 'jobs_failed',
      help: 'Jobs set aside after their last attempt.',
      labelNames,
      registers,
    });
    this.oldest = new Gauge({
      name: 'jobs_oldest_seconds',
      help: 'Age of the oldest job that waits.',
      labelNames,
      registers,
    });
    this.added = new Counter({
      name: 'jobs_added_total',
      help: 'Additions that the engine confirmed.',
      labelNames,
      registers,
    });
    this.notAdded = new Counter({
      name: 'jobs_not_added_total',
      help: 'Additions that the engine did not confirm in time; the work is found another way.',
      labelNames: ['job', 'reason'],
      registers,
    });
    this.runs = new Counter({
      name: 'jobs_run_total',
      help: 'Runs in this process: done, failed (tried again) or set_aside.',
      labelNames: ['job', 'outcome'],
      registers,
    });
  }

  engineUp(isUp: boolean): void {
    this.up.set(isUp ? 1 : 0);
  }

  standing(job: string, standing: QueueStanding): void {
    this.waiting.set({ job }, standing.waiting);
    this.failed.set({ job }, standing.failed);
    this.oldest.set({ job }, standing.oldestSeconds);
  }

  addition(job: string): void {
    this.added.inc({ job });
  }

  /** @param reason `away` (no answer in time) or `full` (too many wait for an answer) */
  missed(job: string, reason: 'away' | 'full'): void {
    this.notAdded.inc({ job, reason });
  }

  run(job: string, outcome: 'done' | 'failed' | 'set_aside'): void {
    this.runs.inc({ job, outcome });
  }
}
