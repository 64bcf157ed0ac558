import { picoUsd, type PicoUsd } from '#libs/kernel';
import { USAGE_CELLS, type UsageCell } from '#libs/providers/core';

import { resolveRate } from './inheritance.js';
import type { IdentifiedPrice } from './price-entry.js';
import type { PriceIndex } from './price-index.js';
import { reachableTiers } from './service-tier.js';

/** The limits of an attempt about to be sent. */
export interface UpperBoundInput {
  readonly index: PriceIndex;
  readonly provider: string;
  readonly model: string;
  /** Admission, milliseconds UTC. */
  readonly atMs: number;
  /** Most tokens of the prompt, >= 0. */
  readonly maxInputTokens: number;
  /** Most tokens of one choice, >= 0. */
  readonly maxOutputTokens: number;
  /** How many answers are asked for (`n`), >= 1. */
  readonly choices: number;
  /** As the client asks; null or `auto` = the provider's choice. */
  readonly serviceTierAsked: string | null;
}

/** The greatest cost an attempt can reach, with the parts that decide how far its output is clamped. */
export type UpperBoundResult =
  | {
      readonly ok: true;
      /** inputPart + perOutputToken * maxOutputTokens. */
      readonly totalPicoUsd: PicoUsd;
      /** What the input can cost at most, for all choices. */
      readonly inputPartPicoUsd: PicoUsd;
      /** What one more token of the output limit can cost, for all choices together. */
      readonly perOutputTokenPicoUsd: PicoUsd;
    }
  | { readonly ok: false; readonly reason: 'no_rate'; readonly cell: UsageCell | null };

const CELLS = Object.keys(USAGE_CELLS) as readonly UsageCell[];
const INPUT_CELLS = CELLS.filter((cell) => !cell.startsWith('output_'));
const OUTPUT_CELLS = CELLS.filter((cell) => cell.startsWith('output_'));

/** The dearest rate among the cells, null when none has a rate. */
function dearest(entry: IdentifiedPrice, cells: readonly UsageCell[]): bigint | null {
  let most: bigint | null = null;
  for (const cell of cells) {
    const unit = resolveRate(entry, cell)?.unitPicoUsd;
    if (unit !== undefined && (most === null || unit > most)) most = unit;
  }
  return most;
}

/**
 * The greatest cost any outcome within the limits can have under the prices in force: dearest input
 * cell (cache writes included), dearest output cell, over every service tier and context tier the
 * attempt can reach. `rate` of any vector within the limits is never above `totalPicoUsd`.
 */
export function upperBound(input: UpperBoundInput): UpperBoundResult {
  const choices = BigInt(input.choices);
  const mostTokensIn = BigInt(input.maxInputTokens) * choices;
  const tiers = reachableTiers(input.provider, input.serviceTierAsked);
  let inputUnit: bigint | null = null;
  let outputUnit: bigint | null = null;
  for (const entry of input.index.find(input.provider, input.model, input.atMs)) {
    if (!tiers.has(entry.conditions.serviceTier)) continue;
    if (BigInt(entry.conditions.inputFrom) > mostTokensIn) continue;
    const entryInput = dearest(entry, INPUT_CELLS);
    const entryOutput = dearest(entry, OUTPUT_CELLS);
    if (entryInput !== null && entryInput >= (inputUnit ?? 0n)) inputUnit = entryInput;
    if (entryOutput !== null && entryOutput >= (outputUnit ?? 0n)) outputUnit = entryOutput;
  }
  if (inputUnit === null) return { ok: false, reason: 'no_rate', cell: null };
  if (outputUnit === null && input.maxOutputTokens > 0) {
    return { ok: false, reason: 'no_rate', cell: 'output_text' };
  }
  const inputPartPicoUsd = picoUsd(mostTokensIn * inputUnit);
  const perOutputTokenPicoUsd = picoUsd(choices * (outputUnit ?? 0n));
  return {
    ok: true,
    totalPicoUsd: picoUsd(inputPartPicoUsd + perOutputTokenPicoUsd * BigInt(input.maxOutputTokens)),
    inputPartPicoUsd,
    perOutputTokenPicoUsd,
  };
}
