import type { AttemptStatus, Provenance, UsageSource } from '#libs/events';
import { minPicoUsd, ZERO_PICO_USD, type PicoUsd } from '#libs/kernel';
import { rate, type PriceIndex } from '#libs/pricing/core';
import { tokenTotals, toVector, type UsageVector } from '#libs/providers/core';

/** Reported output above the limit by more than this share is not believed. */
const CLAMP_TOLERANCE = 1.05;
/** Longest usage object kept verbatim, characters; an event is at most 64 KiB. */
const MAX_RAW_USAGE_CHARS = 16_384;

/** What was fixed when an attempt was admitted; decides how its outcome is charged. */
export interface Terms {
  readonly prices: PriceIndex;
  readonly provider: string;
  readonly model: string;
  /** Milliseconds UTC. */
  readonly admittedAtMs: number;
  readonly serviceTierAsked: string | null;
  readonly holdPicoUsd: PicoUsd;
  /** Whether the hold is the operator's ceiling for a model without a price. */
  readonly isCeiling: boolean;
  /** Tokens the hold was made of, all choices together. */
  readonly heldTokens: { readonly input: number; readonly output: number };
  /** The output limit the upstream was told, all choices together; null = it was told none. */
  readonly sentOutputLimit: number | null;
  /** Input tokens by estimate, for an answer without usage. */
  readonly estimatedInputTokens: number;
}

/** What became of an attempt. */
export interface Ending {
  readonly status: AttemptStatus;
  /** False only when provably not one byte was sent. */
  readonly wasSent: boolean;
  /** Whether a complete error answer came before any output. */
  readonly isErrorAnswer: boolean;
  /** The usage object, verbatim; null = none came. */
  readonly usageText: string | null;
  readonly usageDecreased: boolean;
  readonly serviceTierServed: string | null;
  /** Output tokens seen, by estimate. */
  readonly estimatedOutputTokens: number;
}

/** How an attempt is charged, and how sure that is. */
export interface Figures {
  readonly provenance: Provenance;
  readonly usageSource: UsageSource;
  readonly rawUsage: string | null;
  readonly usage: UsageVector;
  readonly priceId: string | null;
  readonly priceState: 'priced' | 'ceiling';
  readonly costPicoUsd: PicoUsd;
  readonly flags: readonly string[];
}

/**
 * Charges an attempt. A figure of the provider's is taken as it is, an explicit zero too; without one
 * the delivered text is estimated, and with nothing known the hold is charged. A sent attempt costs
 * zero only when the provider answered with a complete error. Pure.
 */
export function settle(terms: Terms, ending: Ending): Figures {
  if (!ending.wasSent) return nothing('zero_not_sent');
  if (ending.usageText !== null) return byUsage(terms, ending, ending.usageText);
  if (ending.isErrorAnswer) return nothing('measured');
  if (terms.isCeiling) return atHold(terms, null, ['price_unknown']);
  const flags = ending.status === 'ok' ? ['usage_missing'] : [];
  if (ending.estimatedOutputTokens === 0) return atHold(terms, null, flags);
  return byEstimate(terms, ending.estimatedOutputTokens, flags);
}

/**
 * Charges text that was delivered without a figure of the provider's; never above the hold.
 * @param outputTokens by estimate
 */
export function byEstimate(terms: Terms, outputTokens: number, flags: readonly string[]): Figures {
  const usage = vectorOf(terms.estimatedInputTokens, outputTokens);
  const rated = rateOf(terms, usage, null);
  if (!rated.ok) return atHold(terms, null, [...flags, 'no_rate']);
  return {
    provenance: 'estimated_partial',
    usageSource: 'estimated_tokenizer',
    rawUsage: null,
    usage,
    priceId: rated.priceId,
    priceState: 'priced',
    costPicoUsd: minPicoUsd(rated.costPicoUsd, terms.holdPicoUsd),
    flags: [...flags, 'estimator_chars4', ...rated.flags],
  };
}

/** Charges the hold: an unknown outcome is never free. The counts are those the hold was made of. */
export function atHold(terms: Terms, rawUsage: string | null, flags: readonly string[]): Figures {
  return {
    provenance: 'estimated_hold',
    usageSource: 'none',
    rawUsage,
    usage: vectorOf(terms.heldTokens.input, terms.heldTokens.output),
    priceId: null,
    priceState: terms.isCeiling ? 'ceiling' : 'priced',
    costPicoUsd: terms.holdPicoUsd,
    flags,
  };
}

function byUsage(terms: Terms, ending: Ending, text: string): Figures {
  const isKept = text.length <= MAX_RAW_USAGE_CHARS;
  const rawUsage = isKept ? text : null;
  const dropped = isKept ? [] : ['raw_usage_dropped'];
  const read = toVector('openai_chat', JSON.parse(text));
  if (read.outcome === 'missing') {
    const figures = settle(terms, { ...ending, usageText: null });
    return { ...figures, rawUsage, flags: [...figures.flags, ...dropped] };
  }
  if (read.outcome === 'quarantined' || isAbsurd(terms, ending, read.vector)) {
    return atHold(terms, rawUsage, ['usage_quarantined', ...dropped]);
  }
  if (terms.isCeiling) {
    return { ...atHold(terms, rawUsage, ['price_unknown', ...dropped]), usage: read.vector };
  }
  const rated = rateOf(terms, read.vector, ending.serviceTierServed);
  if (!rated.ok) return { ...atHold(terms, rawUsage, ['no_rate', ...dropped]), usage: read.vector };
  const flags = [...read.flags, ...rated.flags, ...dropped];
  if (rated.costPicoUsd > terms.holdPicoUsd) flags.push('overrun');
  return {
    provenance: 'measured',
    usageSource: 'provider_final',
    rawUsage,
    usage: read.vector,
    priceId: rated.priceId,
    priceState: 'priced',
    costPicoUsd: rated.costPicoUsd,
    flags,
  };
}

function isAbsurd(terms: Terms, ending: Ending, vector: UsageVector): boolean {
  if (ending.usageDecreased) return true;
  if (terms.sentOutputLimit === null) return false;
  return tokenTotals(vector).tokensOut > terms.sentOutputLimit * CLAMP_TOLERANCE;
}

function rateOf(terms: Terms, vector: UsageVector, serviceTierServed: string | null) {
  return rate({
    index: terms.prices,
    provider: terms.provider,
    model: terms.model,
    atMs: terms.admittedAtMs,
    vector,
    serviceTierServed,
    serviceTierAsked: terms.serviceTierAsked,
  });
}

function nothing(provenance: 'zero_not_sent' | 'measured'): Figures {
  return {
    provenance,
    usageSource: 'none',
    rawUsage: null,
    usage: {},
    priceId: null,
    priceState: 'priced',
    costPicoUsd: ZERO_PICO_USD,
    flags: [],
  };
}

function vectorOf(input: number, output: number): UsageVector {
  return {
    ...(input > 0 ? { input_text: input } : {}),
    ...(output > 0 ? { output_text: output } : {}),
  };
}
