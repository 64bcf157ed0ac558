/** A request whose answer is not yet out. */
interface RunningQuery {
  readonly queryId: string;
  readonly startedMs: number;
  /** Ends its request when it is still being sent; an engine call cannot be ended. */
  readonly cancel: () => void;
  readonly done: Promise<void>;
}

/** What the engine calls a running query of ours is unknown, so the front keeps its own list. */
export class ChdbFrontQueries {
  private readonly running = new Set<RunningQuery>();

  /**
   * Notes a query for as long as the work takes.
   * @throws Error as a server does when the id is running already
   */
  async track<T>(queryId: string, cancel: () => void, work: () => Promise<T>): Promise<T> {
    if (queryId !== '' && this.withId(queryId).length > 0) {
      throw new Error(
        `Code: 216. DB::Exception: Query with id = ${queryId} is already running. ` +
          '(QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)',
      );
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const query = { queryId, startedMs: performance.now(), cancel, done: promise };
    this.running.add(query);
    try {
      return await work();
    } finally {
      this.running.delete(query);
      resolve();
    }
  }

  /**
   * Answers `KILL QUERY WHERE query_id = ... SYNC`: resolves when none of that id runs any more.
   * @returns the answer's rows; null when the statement is another one
   */
  async kill(statement: string, settings: ReadonlyMap<string, string>): Promise<string | null> {
    if (!/^\s*KILL\s+QUERY\b/i.test(statement)) return null;
    const found =
      /^\s*KILL\s+QUERY\s+WHERE\s+query_id\s*=\s*(?:\{(\w+):String\}|'([^'\\]*)')\s+SYNC\b/i.exec(
        statement,
      );
    if (found === null) {
      throw new Error('Code: 48. DB::Exception: KILL QUERY by query_id only. (NOT_IMPLEMENTED)');
    }
    const queryId = found[2] ?? settings.get(`param_${found[1]}`) ?? '';
    const victims = this.withId(queryId);
    for (const victim of victims) victim.cancel();
    await Promise.all(victims.map(({ done }) => done));
    return victims.map(() => `finished\t${queryId}\tdefault\t\n`).join('');
  }

  /** The statement with `system.processes` replaced by our own list. */
  withProcesses(statement: string): string {
    if (!/\bsystem\.processes\b/.test(statement)) return statement;
    const nowMs = performance.now();
    const rows = [...this.running].map(
      ({ queryId, startedMs }) =>
        `('${queryId.replaceAll(/['\\]/g, '')}', 'default', ${(nowMs - startedMs) / 1000})`,
    );
    const columns = "'query_id String, user String, elapsed Float64'";
    return statement.replaceAll(
      /\bsystem\.processes\b/g,
      `(SELECT * FROM values(${columns}, ${rows.join(', ')}))`,
    );
  }

  private withId(queryId: string): readonly RunningQuery[] {
    return [...this.running].filter((query) => query.queryId === queryId);
  }
}
