import { parsePicoUsd, type PicoUsd } from '#libs/kernel';
import type { IdentifiedPrice } from '#libs/pricing/core';

/** The stored form: the same members, each rate as an integer string of pico-dollars. */
type PriceBody = Omit<IdentifiedPrice, 'ratesPicoUsd'> & {
  readonly ratesPicoUsd: Readonly<Record<string, string>>;
};

/** The text in which an entry is stored; `fromPriceBody` reads back the same entry. */
export function toPriceBody(entry: IdentifiedPrice): string {
  const rates = Object.entries(entry.ratesPicoUsd).map(
    ([cell, rate]) => [cell, String(rate)] as const,
  );
  const body: PriceBody = {
    ...entry,
    ratesPicoUsd: Object.fromEntries(rates.toSorted(([a], [b]) => (a < b ? -1 : 1))),
  };
  return JSON.stringify(body);
}

/** An entry as stored. @throws AppError `money.malformed` when a rate is no integer */
export function fromPriceBody(text: string): IdentifiedPrice {
  const body = JSON.parse(text) as PriceBody;
  const rates: Record<string, PicoUsd> = {};
  for (const [cell, rate] of Object.entries(body.ratesPicoUsd)) rates[cell] = parsePicoUsd(rate);
  return { ...body, ratesPicoUsd: rates };
}
