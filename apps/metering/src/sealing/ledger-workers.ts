/** Something that works beside the partitions. */
export interface Worker {
  start(): void;
  /** Ends after the step under way. Absent when another party ends it. */
  stop?(): Promise<void>;
}

/** The workers that keep the ledger visible, clean and checked. */
export class LedgerWorkers implements Worker {
  constructor(private readonly workers: readonly Worker[]) {}

  start(): void {
    for (const worker of this.workers) worker.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.workers.map(async (worker) => worker.stop?.()));
  }
}
