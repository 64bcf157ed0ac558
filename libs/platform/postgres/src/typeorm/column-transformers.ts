import type { ValueTransformer } from 'typeorm';

import { formatUsd, parseUsd, toRfc3339, type PicoUsd } from '#libs/kernel';

/** A `timestamptz` column as milliseconds UTC; null stays null. */
export const timestampMs: ValueTransformer = {
  to: (timeMs: number | null | undefined) =>
    typeof timeMs === 'number' ? toRfc3339(timeMs) : timeMs,
  from: (value: Date | null) => value?.getTime() ?? null,
};

/** A `numeric(38,12)` column named `*_usd` as pico-dollars. */
export const usdAmount: ValueTransformer = {
  to: (amountPicoUsd: PicoUsd | undefined) =>
    amountPicoUsd === undefined ? undefined : formatUsd(amountPicoUsd),
  from: (text: string) => parseUsd(text),
};

/** A `bigint` column whose values stay below 2^53, as a number; null stays null. */
export const safeInteger: ValueTransformer = {
  to: (value: number | null | undefined) => value,
  from: (text: string | null) => (text === null ? null : Number(text)),
};
