import { picoUsd, type PicoUsd } from '#libs/kernel';

import type { UsageRow } from '../usage-row.js';

/** Length of the buckets that figures are kept in, milliseconds. */
export const HOUR_MS = 3_600_000;

/** Sums over the attempts of one batch that share an hour, an owner and a model. All are additive. */
export interface RollupCell {
  /** Start of the hour in which the attempts occurred, milliseconds UTC. */
  readonly hourMs: number;
  readonly orgId: string;
  readonly teamId: string | null;
  readonly keyId: string;
  readonly userId: string;
  readonly provider: string;
  readonly model: string;
  /** Attempts that were the last of their request. */
  readonly requests: number;
  readonly attempts: number;
  /** Attempts whose provenance is not `measured`. */
  readonly estimatedAttempts: number;
  readonly tokensIn: bigint;
  readonly tokensOut: bigint;
  /** Units by class, ascending by name; a class without units is absent. */
  readonly usage: ReadonlyMap<string, bigint>;
  readonly costPicoUsd: PicoUsd;
  readonly chargePicoUsd: PicoUsd;
}

/** The start of the hour a time lies in, milliseconds UTC. */
export function hourOf(timeMs: number): number {
  return Math.floor(timeMs / HOUR_MS) * HOUR_MS;
}

/**
 * The rollup of a batch, exact: every row is in exactly one cell. The same rows give the same cells
 * in the same order, whatever order the rows have.
 */
export function cellsOf(rows: readonly UsageRow[]): readonly RollupCell[] {
  const groups = new Map<string, UsageRow[]>();
  for (const row of rows) {
    const { orgId, teamId, keyId, userId, provider, model } = row;
    const hourMs = hourOf(row.occurredAtMs);
    const key = JSON.stringify([hourMs, orgId, teamId, keyId, userId, provider, model]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return [...groups].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => cellOf(group));
}

function cellOf(rows: readonly UsageRow[]): RollupCell {
  const { occurredAtMs, orgId, teamId, keyId, userId, provider, model } = rows[0]!;
  const sumOf = (amount: (row: UsageRow) => bigint): bigint =>
    rows.reduce((sum, row) => sum + amount(row), 0n);
  return {
    hourMs: hourOf(occurredAtMs),
    orgId,
    teamId,
    keyId,
    userId,
    provider,
    model,
    requests: rows.filter((row) => row.final).length,
    attempts: rows.length,
    estimatedAttempts: rows.filter((row) => row.provenance !== 'measured').length,
    tokensIn: sumOf((row) => BigInt(row.tokensIn)),
    tokensOut: sumOf((row) => BigInt(row.tokensOut)),
    usage: usageOf(rows),
    costPicoUsd: picoUsd(sumOf((row) => row.costPicoUsd)),
    chargePicoUsd: picoUsd(sumOf((row) => row.chargePicoUsd)),
  };
}

function usageOf(rows: readonly UsageRow[]): ReadonlyMap<string, bigint> {
  const sums = new Map<string, bigint>();
  for (const { usage } of rows) {
    for (const [name, units] of Object.entries(usage)) {
      if (units > 0) sums.set(name, (sums.get(name) ?? 0n) + BigInt(units));
    }
  }
  return new Map([...sums].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** First and last hour in which rows of a batch occurred, milliseconds UTC. @param rows not empty */
export function hoursOf(rows: readonly { readonly occurredAtMs: number }[]): {
  readonly firstHourMs: number;
  readonly lastHourMs: number;
} {
  let firstHourMs = Infinity;
  let lastHourMs = -Infinity;
  for (const { occurredAtMs } of rows) {
    const hourMs = hourOf(occurredAtMs);
    if (hourMs < firstHourMs) firstHourMs = hourMs;
    if (hourMs > lastHourMs) lastHourMs = hourMs;
  }
  return { firstHourMs, lastHourMs };
}
