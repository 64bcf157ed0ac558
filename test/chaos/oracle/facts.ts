/** What the judge is told once; nothing in it comes from the system under test. */
export interface OracleConfig {
  /** The simulator's own log. */
  readonly simulatorLog: string;
  /** HTTP address of ClickHouse, past every fault. */
  readonly clickhouseUrl: string;
  readonly database: string;
  /** List prices by model, decimal dollars per million tokens. */
  readonly models: Readonly<Record<string, { readonly input: string; readonly output: string }>>;
}

/** One question to the judge, a line of its standard input. */
export interface Question {
  /** Login of PostgreSQL; the server may come back elsewhere. */
  readonly postgresUrl: string;
  /** Attempts from this byte of the simulator's log on are the cycle's own. */
  readonly sinceByte: number;
}

/** What the simulator says of one attempt. */
export interface Attempt {
  readonly id: string;
  readonly model: string;
  /** Times its request arrived; more than one is a double dispatch. */
  received: number;
  /** Null while it was not billed. */
  bill: { readonly input: number; readonly output: number; readonly status: number } | null;
  /** Where its first line starts in the log, bytes. */
  readonly atByte: number;
}

/** One row of the ledger. */
export interface LedgerRow {
  readonly attemptId: string;
  readonly eventId: string;
  readonly keyId: string;
  readonly teamId: string | null;
  readonly model: string;
  readonly provenance: string;
  readonly cost: bigint;
  readonly charge: bigint;
  readonly hold: bigint;
  /** `<emitter>/<lane>`. */
  readonly stream: string;
  readonly seq: bigint;
}

/** One running account of a budget. */
export interface Account {
  readonly subject: string;
  readonly limit: bigint;
  readonly settled: bigint;
  readonly held: bigint;
}

/** What PostgreSQL holds. */
export interface ControlFacts {
  readonly accounts: readonly Account[];
  /** What each subject was ever charged, by `<scope>/<id>`. */
  readonly spend: ReadonlyMap<string, bigint>;
  readonly openHolds: number;
  readonly openGaps: number;
  /** Records declared lost, by stream. */
  readonly lostSeqs: ReadonlyMap<string, bigint>;
  readonly watermarks: ReadonlyMap<string, { readonly contiguous: bigint; readonly high: bigint }>;
  readonly unsentOutbox: number;
  readonly parkedBatches: number;
  readonly preparedPlans: number;
  readonly deadLetters: number;
}

/** The judge's answer, a line of its standard output. */
export interface Verdict {
  /** Whether nothing is under way any more; the other figures are final only then. */
  readonly quiet: boolean;
  /** Why it is not quiet yet. */
  readonly waiting: readonly string[];
  /** Attempts of this cycle that reached the simulator. */
  readonly attempts: number;
  /** Rows of the ledger in all. */
  readonly rows: number;
  /** Attempts of all cycles without a row. */
  readonly lost: number;
  /** Rows, or dispatches, beyond one for an attempt. */
  readonly doubled: number;
  /** Sum of the distances between ledger and accounts, pico-dollars. */
  readonly imbalancePusd: string;
  /** Rows of this cycle's attempts that are not measured. */
  readonly estimated: number;
  /** Accounts above their limit, now or at a sampled instant. */
  readonly overspent: number;
  /** Broken rules of sequences. */
  readonly sequence: number;
  /** Measured rows that differ from the bill, and others above their hold. */
  readonly misrated: number;
  /** Rollup cells that differ from their recomputation. */
  readonly rollup: number;
  readonly deadLetters: number;
  /** Up to five examples of what is wrong. */
  readonly examples: readonly string[];
}
