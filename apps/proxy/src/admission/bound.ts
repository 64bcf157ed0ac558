import { picoUsd, type PicoUsd } from '#libs/kernel';
import { upperBound, type PriceIndex } from '#libs/pricing/core';
import type { ChatScan } from '#libs/providers/core';

import type { ModelRoute } from './catalogue.js';

/** Fewer output tokens than this are not worth an answer, unless the client itself asked for fewer. */
const LEAST_OUTPUT_TOKENS = 16;
/** What a message costs beside its bytes, tokens: role and separators. @source docs/budgets.md */
const TOKENS_PER_MESSAGE = 16;

/** The greatest cost an attempt can have and what it is made of. */
export interface Bound {
  /** Of one choice. */
  readonly maxInputTokens: number;
  /** The output limit of one choice: the client's own or the model's, whichever is less. */
  readonly maxOutputTokens: number;
  /** The client's own limit; null = none. */
  readonly clientLimit: number | null;
  readonly choices: number;
  readonly inputPartPicoUsd: PicoUsd;
  /** One more token of the output limit, for all choices together. */
  readonly perOutputTokenPicoUsd: PicoUsd;
  readonly totalPicoUsd: PicoUsd;
  /** Whether the amount is the operator's ceiling for a model without a price. */
  readonly isCeiling: boolean;
}

/**
 * The upper bound of an attempt's cost. A token is at least one byte, so the body's bytes bound its
 * tokens, unless a part stands for more than its bytes: then the model's window does.
 * @returns the reason when there is no bound
 */
export function boundOf(
  prices: PriceIndex,
  route: ModelRoute,
  scan: ChatScan,
  atMs: number,
): Bound | 'price_unknown' | 'unestimable' {
  const { model, provider } = route;
  const maxInputTokens = inputTokens(route, scan);
  const modelLimit = model.limits.maxOutputTokens ?? model.limits.contextTokens;
  const clientLimit = clientLimitOf(scan);
  const maxOutputTokens = Math.min(clientLimit ?? Infinity, modelLimit ?? Infinity);
  if (scan.hasCallFees || maxInputTokens === null || !Number.isFinite(maxOutputTokens)) {
    return 'unestimable';
  }
  const common = { maxInputTokens, maxOutputTokens, clientLimit, choices: scan.choices };
  const bound = upperBound({
    index: prices,
    provider: provider.name,
    model: model.id,
    atMs,
    maxInputTokens,
    maxOutputTokens,
    choices: scan.choices,
    serviceTierAsked: scan.serviceTier,
  });
  if (bound.ok) return { ...common, ...bound, isCeiling: false };
  if (model.callCeilingPicoUsd === null) return 'price_unknown';
  const ceiling = picoUsd(model.callCeilingPicoUsd);
  return {
    ...common,
    inputPartPicoUsd: ceiling,
    perOutputTokenPicoUsd: picoUsd(0n),
    totalPicoUsd: ceiling,
    isCeiling: true,
  };
}

/** The least amount an attempt makes sense with: its input and min(16, the client's limit) tokens. */
export function leastOf(bound: Bound): PicoUsd {
  const tokens = BigInt(Math.min(LEAST_OUTPUT_TOKENS, bound.maxOutputTokens));
  return picoUsd(bound.inputPartPicoUsd + bound.perOutputTokenPicoUsd * tokens);
}

/** The output limit, tokens of one choice, that an amount pays for; never above the bound's own. */
export function outputPaidBy(bound: Bound, amountPicoUsd: PicoUsd): number {
  if (bound.perOutputTokenPicoUsd === 0n) return bound.maxOutputTokens;
  const tokens = (amountPicoUsd - bound.inputPartPicoUsd) / bound.perOutputTokenPicoUsd;
  return tokens >= BigInt(bound.maxOutputTokens) ? bound.maxOutputTokens : Number(tokens);
}

function clientLimitOf(scan: ChatScan): number | null {
  const { maxTokens, maxCompletionTokens } = scan;
  if (maxTokens === null) return maxCompletionTokens;
  return maxCompletionTokens === null ? maxTokens : Math.min(maxTokens, maxCompletionTokens);
}

function inputTokens(route: ModelRoute, scan: ChatScan): number | null {
  const { maxInputTokens, contextTokens, holdInputFromLimit } = route.model.limits;
  const window = maxInputTokens ?? contextTokens;
  if (holdInputFromLimit || scan.hasNonText) return window;
  const byBytes = scan.object.end - scan.object.start + TOKENS_PER_MESSAGE * scan.messages;
  return window === null ? byBytes : Math.min(byBytes, window);
}
