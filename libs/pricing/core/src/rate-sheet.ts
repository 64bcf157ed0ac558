import { divideHalfEven, picoUsd, type PicoUsd } from '#libs/kernel';
import { USAGE_CELLS, type UsageCell } from '#libs/providers/core';

import type { PriceEntry } from './price-entry.js';

/** A figure that had more digits than pico-dollars per token can hold. */
export interface RoundedRate {
  readonly sku: string;
  readonly cell: UsageCell;
  /** USD per million tokens as written. */
  readonly written: string;
  /** pUSD per token, rounded half to even. */
  readonly ratePicoUsd: PicoUsd;
}

/** The entries of a sheet file, or every fault in it. */
export type CompiledSheets =
  | {
      readonly ok: true;
      readonly entries: readonly PriceEntry[];
      readonly rounded: readonly RoundedRate[];
    }
  | { readonly ok: false; readonly faults: readonly string[] };

/** Dearest rate taken for true, USD per million tokens: 0.01 USD per token; above it a unit was mistaken. */
const MAX_USD_PER_MILLION = 10_000n;

/** Longest figure read, characters; bounds the work on a broken file. */
const MAX_FIGURE_CHARS = 40;

type Members = Readonly<Record<string, unknown>>;

/** Collects faults with the place they were found at. */
class SheetReader {
  readonly faults: string[] = [];
  readonly rounded: RoundedRate[] = [];

  fault(at: string, text: string): void {
    this.faults.push(`${at}: ${text}`);
  }

  members(value: unknown, at: string, known: readonly string[]): Members | null {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.fault(at, 'must be an object');
      return null;
    }
    for (const name of Object.keys(value)) {
      if (!known.includes(name)) this.fault(`${at}.${name}`, 'is not a known member');
    }
    return value as Members;
  }

  list(value: unknown, at: string, least: number): readonly unknown[] {
    if (Array.isArray(value) && value.length >= least) return value;
    this.fault(at, `must be a list of at least ${least}`);
    return [];
  }

  text(value: unknown, at: string, pattern: RegExp): string {
    if (typeof value === 'string' && pattern.test(value)) return value;
    this.fault(at, `must be text of the form ${pattern.source}`);
    return '';
  }

  instant(value: unknown, at: string): string {
    const text = this.text(value, at, /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/);
    if (text !== '' && Number.isNaN(Date.parse(text))) this.fault(at, 'is not a date');
    return text;
  }

  /** pUSD per token of a figure in USD per million tokens. */
  figure(value: unknown, at: string, sku: string, cell: UsageCell): PicoUsd | null {
    const match =
      typeof value === 'string' && value.length <= MAX_FIGURE_CHARS
        ? /^(\d+)(?:\.(\d+))?$/.exec(value)
        : null;
    if (match === null) {
      this.fault(at, 'must be a decimal string, not negative and without exponent');
      return null;
    }
    const [written, whole, fraction = ''] = match;
    if (BigInt(whole!) >= MAX_USD_PER_MILLION) {
      this.fault(at, `must be below ${MAX_USD_PER_MILLION} USD per million tokens`);
      return null;
    }
    // One USD per million tokens is 1e12 / 1e6 pUSD per token.
    const digits = BigInt(`${whole}${fraction}`) * 1_000_000n;
    const scale = 10n ** BigInt(fraction.length);
    const ratePicoUsd = picoUsd(divideHalfEven(digits, scale));
    if (digits % scale !== 0n) this.rounded.push({ sku, cell, written, ratePicoUsd });
    return ratePicoUsd;
  }
}

interface Tier {
  readonly serviceTier: string;
  readonly inputFrom: number;
  readonly ratesPicoUsd: Partial<Record<UsageCell, PicoUsd>>;
}

const NAME = /^\S{1,200}$/;
const FILE_MEMBERS = ['$schema', 'provider', 'currency', 'sheets'];
const SHEET_MEMBERS = ['model', 'aliases', 'effective_from', 'source', 'tiers'];
const TIER_MEMBERS = ['service_tier', 'input_from', 'usd_per_million_tokens'];

function readTier(reader: SheetReader, value: unknown, at: string, sku: string): Tier {
  const tier = reader.members(value, at, TIER_MEMBERS) ?? {};
  const serviceTier = reader.text(tier['service_tier'], `${at}.service_tier`, /^[a-z_]{1,40}$/);
  const inputFrom = tier['input_from'];
  if (!Number.isSafeInteger(inputFrom) || (inputFrom as number) < 0) {
    reader.fault(`${at}.input_from`, 'must be a whole number of tokens, at least 0');
  }
  const ratesAt = `${at}.usd_per_million_tokens`;
  const rates = reader.members(tier['usd_per_million_tokens'], ratesAt, Object.keys(USAGE_CELLS));
  const ratesPicoUsd: Partial<Record<UsageCell, PicoUsd>> = {};
  for (const cell of Object.keys(USAGE_CELLS) as UsageCell[]) {
    const written = rates?.[cell];
    if (written === undefined) continue;
    const figure = reader.figure(written, `${ratesAt}.${cell}`, sku, cell);
    if (figure !== null) ratesPicoUsd[cell] = figure;
  }
  if (rates !== null && rates['input_text'] === undefined) {
    reader.fault(`${ratesAt}.input_text`, 'is missing; every tier states its own input rate');
  }
  return { serviceTier, inputFrom: Number(inputFrom), ratesPicoUsd };
}

/** Gives each context tier its end, and demands that each service tier starts at 0 and ascends. */
function boundTiers(
  reader: SheetReader,
  tiers: readonly Tier[],
  at: string,
): readonly (Tier & { readonly inputTo: number | null })[] {
  const byService = Map.groupBy(tiers, (tier) => tier.serviceTier);
  if (tiers.length > 0 && !byService.has('standard')) {
    reader.fault(at, 'has no tier of service tier standard');
  }
  return [...byService].flatMap(([serviceTier, group]) =>
    group.map((tier, position) => {
      const before = group[position - 1];
      if (before === undefined ? tier.inputFrom !== 0 : tier.inputFrom <= before.inputFrom) {
        reader.fault(at, `service tier ${serviceTier}: input_from must start at 0 and ascend`);
      }
      return { ...tier, inputTo: group[position + 1]?.inputFrom ?? null };
    }),
  );
}

function readSheet(
  reader: SheetReader,
  value: unknown,
  at: string,
  provider: string,
): readonly PriceEntry[] {
  const sheet = reader.members(value, at, SHEET_MEMBERS);
  if (sheet === null) return [];
  const model = reader.text(sheet['model'], `${at}.model`, NAME);
  const aliases =
    sheet['aliases'] === undefined ? [] : reader.list(sheet['aliases'], `${at}.aliases`, 0);
  const names = aliases.map((alias, i) => reader.text(alias, `${at}.aliases[${i}]`, NAME));
  const effectiveFrom = reader.instant(sheet['effective_from'], `${at}.effective_from`);
  const source = reader.members(sheet['source'], `${at}.source`, ['url', 'read_on']) ?? {};
  const url = reader.text(source['url'], `${at}.source.url`, /^https:\/\/\S+$/);
  const readOn = reader.text(source['read_on'], `${at}.source.read_on`, /^\d{4}-\d{2}-\d{2}$/);
  const tiers = reader
    .list(sheet['tiers'], `${at}.tiers`, 1)
    .map((tier, i) => readTier(reader, tier, `${at}.tiers[${i}]`, `${provider}/${model}`));
  const bounded = boundTiers(reader, tiers, `${at}.tiers`);
  return [model, ...names].flatMap((name) =>
    bounded.map(({ serviceTier, inputFrom, inputTo, ratesPicoUsd }) => ({
      sku: `${provider}/${name}`,
      provider,
      model: name,
      conditions: { serviceTier, inputFrom, inputTo },
      currency: 'USD' as const,
      effectiveFrom,
      ratesPicoUsd,
      source: { url, readOn },
    })),
  );
}

function refuseRepeats(reader: SheetReader, entries: readonly PriceEntry[]): void {
  const seen = new Set<string>();
  for (const { sku, conditions, effectiveFrom } of entries) {
    const key = `${sku} ${conditions.serviceTier} from ${conditions.inputFrom} at ${effectiveFrom}`;
    if (seen.has(key)) reader.fault('sheets', `${key} is priced twice`);
    seen.add(key);
  }
}

/**
 * Turns one sheet file into price entries: one per model or alias, service tier and context tier.
 * Figures are read as decimal text, never through a floating-point number; what does not fit into
 * whole pico-dollars per token is rounded half to even and reported.
 * @param document the parsed JSON of a file of `prices/`
 * @returns all entries, or all faults; never some of the entries of a faulty file
 */
export function compileSheets(document: unknown): CompiledSheets {
  const reader = new SheetReader();
  const file = reader.members(document, 'file', FILE_MEMBERS);
  if (file === null) return { ok: false, faults: reader.faults };
  const provider = reader.text(file['provider'], 'provider', /^[a-z][a-z0-9_-]{0,62}$/);
  if (file['currency'] !== 'USD') reader.fault('currency', 'must be USD');
  const entries = reader
    .list(file['sheets'], 'sheets', 1)
    .flatMap((sheet, i) => readSheet(reader, sheet, `sheets[${i}]`, provider));
  refuseRepeats(reader, entries);
  return reader.faults.length > 0
    ? { ok: false, faults: reader.faults }
    : { ok: true, entries, rounded: reader.rounded };
}
