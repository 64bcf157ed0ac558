import type { UsageReader, UsageStore } from '#libs/usage/core';

/** A ledger of its own for one suite, behind the ports, and what only its engine can do. */
export interface UsageHarness {
  /** A writer over the ledger, migrated; each call gives a session of its own. */
  openStore(): UsageStore;
  /** A reader over the same ledger. */
  openReader(): UsageReader;
  /** Leaves other output forms and a used-up token behind in every session that is open. */
  disturbSessions(): Promise<void>;
  /** Runs a read of two seconds in a session of its own. */
  slowRead(): Promise<void>;
  /** Closes every session and removes the ledger. */
  close(): Promise<void>;
}
