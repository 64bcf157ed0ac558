import type { PicoUsd } from '#libs/kernel';

/** What figures may be grouped by. */
export type UsageGrouping = 'key' | 'team' | 'user' | 'model' | 'provider';

/** Which rows a question is about. Empty lists do not filter. */
export interface UsageFilter {
  readonly orgId: string;
  /** Inclusive, milliseconds UTC. */
  readonly startMs: number;
  /** Exclusive, milliseconds UTC. */
  readonly endMs: number;
  readonly keyIds: readonly string[];
  readonly teamIds: readonly string[];
  readonly userIds: readonly string[];
  readonly models: readonly string[];
  readonly providers: readonly string[];
}

/** A question for sums. */
export interface UsageQuestion extends UsageFilter {
  readonly bucket: 'hour' | 'day' | 'none';
  readonly groupBy: readonly UsageGrouping[];
  /** More rows than this are an error of the question. */
  readonly maxRows: number;
}

/** Sums of one bucket and group. */
export interface UsageSums {
  /** Milliseconds UTC; null without bucket. */
  readonly bucketStartMs: number | null;
  /** Exactly the members asked for; null = the row has none. */
  readonly group: Readonly<Partial<Record<UsageGrouping, string | null>>>;
  /** Upstream attempts: a request that was tried twice counts twice, as it is billed. */
  readonly requests: number;
  readonly tokensIn: number;
  readonly tokensOut: number;
  readonly costPicoUsd: PicoUsd;
  readonly chargePicoUsd: PicoUsd;
  /** Attempts whose provenance is not `measured`. */
  readonly estimatedRequests: number;
}

/** Where a page of attempts begins: after this row in newest-first order. */
export interface AttemptCursor {
  readonly occurredAtMs: number;
  readonly eventId: string;
}

/** One attempt as listed. */
export interface AttemptView {
  readonly eventId: string;
  readonly requestId: string;
  readonly attempt: number;
  readonly final: boolean;
  readonly occurredAtMs: number;
  readonly keyId: string;
  readonly teamId: string | null;
  readonly userId: string;
  readonly provider: string;
  readonly model: string;
  readonly status: string;
  readonly tokensIn: number;
  readonly tokensOut: number;
  readonly costPicoUsd: PicoUsd;
  readonly chargePicoUsd: PicoUsd;
  readonly priceState: string;
  readonly provenance: string;
  readonly source: string;
  readonly latencyMs: number;
}

/** Activity of one key since its creation. */
export interface KeyActivity {
  readonly keyId: string;
  /** Calls that were answered, in part or whole. */
  readonly requests: number;
  /** When the last of them ended, milliseconds UTC. */
  readonly lastUsedMs: number;
}

/** The name under which reporting offers the activity of keys to other services. */
export const KEY_ACTIVITY_SERVICE = 'reporting.activity';

/** The methods of `UsageReader` that other services may call. */
export const KEY_ACTIVITY_METHODS = ['activityOf'] as const;

/** Reads of the ledger; never writes. */
export abstract class UsageReader {
  /**
   * Sums of the attempts that occurred in [start, end), ascending by bucket, then by the grouping
   * members as text, unknown last. Nothing found gives no rows.
   * @throws AppError `usage.too_many_rows` (invalid) above `maxRows`
   */
  abstract sums(question: UsageQuestion): Promise<readonly UsageSums[]>;
  /** Attempts that occurred in [start, end), newest first, then by event id descending. @param limit 1..1001 */
  abstract attempts(
    filter: UsageFilter,
    after: AttemptCursor | null,
    limit: number,
  ): Promise<readonly AttemptView[]>;
  /** Served calls of keys since their creation; keys never served are absent. At most 1000 ids. */
  abstract activityOf(orgId: string, keyIds: readonly string[]): Promise<readonly KeyActivity[]>;
  /** Resolves while questions can be answered. @throws AppError of the engine otherwise */
  abstract ping(): Promise<void>;
  abstract close(): Promise<void>;
}
