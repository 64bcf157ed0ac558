import { Session } from 'chdb';

/** Sessions that wait for the next request; more are closed. */
const MAX_IDLE = 8;

/** A session of the engine with what it was told so far, so that the next request tells it little. */
interface PooledSession {
  readonly session: Session;
  database: string;
  readonly settings: Map<string, string>;
}

/** What a request wants to hold while it runs. */
export interface SessionState {
  /** Database that unqualified names belong to. */
  readonly database: string;
  /** Settings, and query parameters as `param_<name>`. */
  readonly settings: ReadonlyMap<string, string>;
}

/**
 * Sessions of the embedded engine over one data directory. A server forgets a request's settings with
 * the request; a session keeps them. So a session that goes to another request is first told what
 * differs, and what the other one does not name is set back to its default.
 */
export class ChdbFrontSessions {
  private readonly idle: PooledSession[] = [];
  /** Keeps the data directory open between requests. */
  private readonly keeper: Session;

  constructor(private readonly dataDir: string) {
    this.keeper = new Session(dataDir);
  }

  /**
   * Runs a piece of work in a session that nobody else uses meanwhile.
   * @param leavesTraces the statement itself changes the session, which then serves no other request
   */
  async use<T>(
    state: SessionState,
    leavesTraces: boolean,
    work: (session: Session) => Promise<T>,
  ): Promise<T> {
    const pooled = this.idle.pop() ?? this.open();
    let isClean = false;
    try {
      await this.prepare(pooled, state);
      isClean = !leavesTraces;
      return await work(pooled.session);
    } finally {
      if (isClean && this.idle.length < MAX_IDLE) this.idle.push(pooled);
      else pooled.session.close();
    }
  }

  close(): void {
    for (const { session } of this.idle.splice(0)) session.close();
    this.keeper.close();
  }

  private open(): PooledSession {
    return { session: new Session(this.dataDir), database: 'default', settings: new Map() };
  }

  private async prepare(pooled: PooledSession, wanted: SessionState): Promise<void> {
    const changes: string[] = [];
    for (const [name, value] of wanted.settings) {
      if (!/^[A-Za-z_]\w*$/.test(name)) throw new Error(`Code: 115. DB::Exception: ${name}`);
      if (pooled.settings.get(name) !== value) changes.push(`${name} = ${literal(value)}`);
      pooled.settings.set(name, value);
    }
    for (const name of pooled.settings.keys()) {
      if (wanted.settings.has(name)) continue;
      pooled.settings.delete(name);
      // A parameter that the next statement does not name does no harm.
      if (!name.startsWith('param_')) changes.push(`${name} = DEFAULT`);
    }
    if (changes.length > 0) await pooled.session.queryAsync(`SET ${changes.join(', ')}`);
    if (pooled.database === wanted.database) return;
    await pooled.session.queryAsync(`USE \`${wanted.database.replaceAll('`', '')}\``);
    pooled.database = wanted.database;
  }
}

function literal(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
