/** Where a sink worker finds its engines, as JSON in its first argument. */
export interface WorkerSettings {
  readonly databaseUrl: string;
  /** Null = the log is in PostgreSQL. */
  readonly kafkaBrokers: readonly string[] | null;
  readonly clickhouse:
    | { readonly kind: 'server'; readonly url: string }
    | { readonly kind: 'embedded'; readonly dataDir: string };
  /** Database of the ledger. */
  readonly ledger: string;
  /** `LOG_PARTITIONS`. */
  readonly partitions: number;
}

/** What the driver tells a worker. */
export type WorkerOrder =
  /** Opens the engines and begins to work; before that it has only loaded its code. */
  | { readonly kind: 'go' }
  /** Arms failpoints from here on. */
  | { readonly kind: 'arm'; readonly failpoints: string }
  /** Runs SQL on the worker's ClickHouse: the only way in while the engine is inside it. */
  | { readonly kind: 'ask'; readonly id: number; readonly sql: string };

/** What a worker tells its driver. */
export type WorkerReport =
  | { readonly kind: 'loaded' }
  | { readonly kind: 'working' }
  /** An insert begins. */
  | { readonly kind: 'insert' }
  /** It ended: answered, or failed. */
  | { readonly kind: 'inserted'; readonly isAnswered: boolean }
  | { readonly kind: 'failure'; readonly text: string }
  | { readonly kind: 'answer'; readonly id: number; readonly rows: readonly object[] };
