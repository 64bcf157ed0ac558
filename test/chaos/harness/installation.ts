import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { delay, SystemClock } from '#libs/kernel';
import { eventually, TestCluster, type ClusterProcess } from '#libs/testing';

import { MODELS } from '../load/models.js';
import type { Verdict } from '../oracle/facts.js';
import { OracleProcess } from './oracle-process.js';

/** Partitions of the log; keys of the load live in all but the last. */
export const LOG_PARTITIONS = 4;
/** The partition that faults may stop for good. */
export const SACRIFICED_PARTITION = LOG_PARTITIONS - 1;

const GENEROUS_USD = 1_000;
const TEAM = 'crew';
/** Longest time until a key is made, milliseconds. */
const KEY_MS = 60_000;
/** Pause between two looks at a system that comes to rest, milliseconds. */
const LOOK_MS = 60;

/** A verdict, and how long it took to become final. */
export interface Settled {
  readonly verdict: Verdict;
  /** Monotonic milliseconds at which everything was at rest; null = it never was. */
  readonly atMs: number | null;
}

const clock = new SystemClock();

/** One boot of the whole product, with its judge, on which many faults are put. */
export class Installation {
  /** Failpoints that each service's present life is armed with. */
  private readonly armed = new Map<string, string>();

  private constructor(
    readonly cluster: TestCluster,
    private readonly oracle: OracleProcess,
    /** Bearer tokens with budgets that no load exhausts. */
    readonly keys: readonly string[],
  ) {}

  /** Starts everything and makes the keys of the load. */
  static async boot(): Promise<Installation> {
    const cluster = await TestCluster.start({
      models: MODELS,
      isOwn: true,
      hasDisks: true,
      logPartitions: LOG_PARTITIONS,
    });
    const models = MODELS.map(
      (model) =>
        [model.id, { input: model.inputUsdPerMillion, output: model.outputUsdPerMillion }] as const,
    );
    const oracle = OracleProcess.start(cluster.directory, {
      simulatorLog: cluster.simulatorLog,
      clickhouseUrl: cluster.engines.clickhouse.directUrl,
      database: 'tollgate',
      models: Object.fromEntries(models),
    });
    return new Installation(cluster, oracle, await makeKeys(cluster));
  }

  /** A key whose budget a few calls use up. */
  async tightKey(limitUsd: number): Promise<string> {
    const make = async (): Promise<string> => {
      // A failpoint of the cycle to come may have ended a service that makes keys.
      await this.reviveServices();
      return (await safeKey(this.cluster, { max_budget: limitUsd })).key;
    };
    return eventually(make, { deadlineMs: KEY_MS });
  }

  /** Where the simulator's log ends now, bytes. */
  logEnd(): number {
    const { simulatorLog } = this.cluster;
    return existsSync(simulatorLog) ? statSync(simulatorLog).size : 0;
  }

  /** Has a service run with these failpoints armed; starts it anew when it does not. */
  async arm(service: string, failpoints: string): Promise<void> {
    if (!this.process(service).isRunning) this.armed.delete(service);
    for (let tries = 0; tries < 3 && this.armed.get(service) !== failpoints; tries += 1) {
      // A start that finds work may reach the failpoint before it serves: that work is then done.
      await this.process(service).end('SIGKILL');
      await this.tryStart(service, failpoints);
    }
  }

  /** Whether a service's present life has a failpoint armed. */
  isArmed(service: string): boolean {
    return (this.armed.get(service) ?? '') !== '';
  }

  /** Starts a service that has ended. */
  async start(
    service: string,
    failpoints = '',
    env: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    this.armed.set(service, failpoints);
    await this.process(service).start({ FAILPOINTS: failpoints, ...env });
  }

  /** Starts a service whose failpoint may kill it before it serves; then it starts without. */
  async tryStart(service: string, failpoints: string): Promise<void> {
    try {
      await this.start(service, failpoints);
    } catch (error) {
      if (failpoints === '' || this.process(service).isRunning) throw error;
      await this.start(service);
    }
  }

  /** Ends a service as `kill -9` does and starts it again. */
  async restart(service: string): Promise<void> {
    await this.process(service).end('SIGKILL');
    await this.start(service);
  }

  /** Sets a service's wall clock this far from the machine's; it may take 50 ms to notice. */
  shiftClock(service: string, offsetMs: number): void {
    writeFileSync(join(this.cluster.directory, `${service}.clock`), String(offsetMs));
  }

  /** Waits until a service has died of its failpoint. @returns false when it lives on */
  async untilDead(service: string, deadlineMs: number): Promise<boolean> {
    const process = this.process(service);
    try {
      await eventually(() => !process.isRunning, { deadlineMs });
      return true;
    } catch {
      return false;
    }
  }

  /** Whether a failpoint of a service has acted since `takeHits` was called. */
  hasHit(service: string, failpoint: string): boolean {
    const file = join(this.cluster.directory, `${service}.failpoints`);
    return existsSync(file) && readFileSync(file, 'utf8').includes(`${failpoint} `);
  }

  /** What the failpoints did since the last call, as `<name> <action>` each. */
  takeHits(): readonly string[] {
    return [...this.cluster.services.keys()].flatMap((service) => {
      const file = join(this.cluster.directory, `${service}.failpoints`);
      if (!existsSync(file)) return [];
      const lines = readFileSync(file, 'utf8').split('\n');
      truncateSync(file);
      return lines.filter((line) => line !== '');
    });
  }

  /** Waits until everything is at rest and balanced, starting what has died meanwhile. */
  async untilQuiet(sinceByte: number, deadlineMs: number): Promise<Settled> {
    const endMs = clock.monotonicMs() + deadlineMs;
    let last: Verdict | undefined;
    let why = '';
    while (clock.monotonicMs() < endMs) {
      await this.reviveServices();
      const answer = await this.judge(sinceByte);
      if ('error' in answer) why = answer.error;
      else if (answer.quiet) return { verdict: answer, atMs: clock.monotonicMs() };
      else last = answer;
      await delay(LOOK_MS);
    }
    if (last === undefined) throw new Error(`there is no verdict: ${why}`);
    return { verdict: last, atMs: null };
  }

  /** The judge's present opinion. */
  judge(sinceByte: number): Promise<Verdict | { readonly error: string }> {
    const postgresUrl = this.cluster.engines.postgres.directUrl;
    return this.oracle.ask({ postgresUrl, sinceByte });
  }

  /** @returns where logs and data are kept, null when they are not */
  async destroy(options: { readonly keep: boolean }): Promise<string | null> {
    this.oracle.stop();
    return this.cluster.destroy(options);
  }

  process(service: string): ClusterProcess {
    return this.cluster.service(service);
  }

  private async reviveServices(): Promise<void> {
    for (const [service, process] of this.cluster.services) {
      if (!process.isRunning) await this.tryStart(service, '');
    }
  }
}

async function makeKeys(cluster: TestCluster): Promise<readonly string[]> {
  await cluster.api.createTeam(TEAM, String(GENEROUS_USD));
  const made = [
    await safeKey(cluster, { max_budget: GENEROUS_USD, team_id: TEAM }),
    await safeKey(cluster, { max_budget: GENEROUS_USD }),
    await safeKey(cluster, { max_budget: GENEROUS_USD }),
    await safeKey(cluster, { team_id: TEAM }),
    await safeKey(cluster, {}),
  ];
  return made.map(({ key }) => key);
}

/** A key outside the sacrificed partition. */
async function safeKey(
  cluster: TestCluster,
  members: Readonly<Record<string, unknown>>,
): Promise<{ readonly id: string; readonly key: string }> {
  for (;;) {
    const made = await cluster.api.createKey(members);
    // The partition of a key: the first four bytes of its id, modulo the count.
    if (Number.parseInt(made.id.slice(0, 8), 16) % LOG_PARTITIONS !== SACRIFICED_PARTITION) {
      return made;
    }
  }
}
