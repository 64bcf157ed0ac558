import type { AttemptStatus, Provenance, UsageSource } from '#libs/events';
import type { PicoUsd } from '#libs/kernel';

/** One row of the ledger: one upstream attempt, rated. */
export interface UsageRow {
  /** UUID text. */
  readonly eventId: string;
  readonly requestId: string;
  readonly attempt: number;
  readonly final: boolean;
  readonly orgId: string;
  readonly keyId: string;
  readonly teamId: string | null;
  readonly userId: string;
  readonly provider: string;
  readonly modelRequested: string;
  readonly model: string;
  readonly modelServed: string | null;
  readonly operation: string;
  readonly stream: boolean;
  readonly serviceTier: string | null;
  readonly status: AttemptStatus;
  readonly httpStatus: number | null;
  readonly provenance: Provenance;
  readonly usageSource: UsageSource;
  readonly source: string;
  /** Verbatim JSON; null when the provider sent none. */
  readonly rawUsage: string | null;
  readonly usage: Readonly<Record<string, number>>;
  readonly tokensIn: number;
  readonly tokensOut: number;
  readonly priceId: string | null;
  readonly priceVersion: string;
  readonly priceState: string;
  readonly costPicoUsd: PicoUsd;
  readonly chargePicoUsd: PicoUsd;
  readonly holdPicoUsd: PicoUsd;
  readonly holdId: string | null;
  readonly flags: readonly string[];
  readonly finishReason: string | null;
  /** Milliseconds UTC. */
  readonly admittedAtMs: number;
  readonly occurredAtMs: number;
  /** Append time in the log: identical whenever the batch is formed again. */
  readonly recordedAtMs: number;
  readonly latencyMs: number;
  readonly ttftMs: number | null;
  readonly upstreamRequestId: string | null;
  readonly emitterId: string;
  readonly lane: number;
  readonly emitterSeq: bigint;
}

/** One refused request; it costs nothing. */
export interface RejectionRow {
  readonly eventId: string;
  readonly requestId: string;
  readonly orgId: string;
  readonly keyId: string;
  readonly teamId: string | null;
  readonly userId: string;
  readonly modelRequested: string | null;
  readonly reason: string;
  readonly code: string;
  readonly occurredAtMs: number;
  readonly recordedAtMs: number;
}
