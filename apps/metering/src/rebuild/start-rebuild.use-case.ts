import type { RebuildJobs } from './rebuild-jobs.js';
import type { AskedRange, RebuildWay } from './rebuild-plan.js';
import type { RebuildKind } from './rebuild-report.js';
import type { Rebuild, RebuildStore } from './rebuild-store.js';
import type { RebuildWorker } from './rebuild.worker.js';

/** What an operator asks for. */
export interface StartRebuildInput extends AskedRange {
  readonly kind: RebuildKind;
  /** Whether what differs is put right. */
  readonly isApplied: boolean;
}

/** Starts rebuilds. */
export class StartRebuild {
  constructor(
    readonly store: RebuildStore,
    private readonly ways: Readonly<Record<RebuildKind, RebuildWay>>,
    private readonly worker: Pick<RebuildWorker, 'look'>,
    private readonly jobs: Pick<RebuildJobs, 'request'>,
  ) {}

  /**
   * Makes the rebuild durable; the next process that is free carries it out.
   * @throws AppError `rebuild.running`, `rebuild.beyond_retention` (conflict)
   */
  async execute({ kind, isApplied, ...asked }: StartRebuildInput): Promise<Rebuild> {
    const { fromMs, toMs, total } = await this.ways[kind].plan(asked);
    const started = await this.store.start({ kind, fromMs, toMs, isApplied }, total);
    this.jobs.request(started.rebuildId);
    this.worker.look();
    return started;
  }
}
