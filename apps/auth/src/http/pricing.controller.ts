import { Controller, Get, Inject, Query, Req, UseFilters, UseGuards } from '@nestjs/common';
import { IsOptional, Matches } from 'class-validator';
import type { FastifyRequest } from 'fastify';

import { picoUsd, type PicoUsd } from '#libs/kernel';
import { FastapiErrorFilter, invalidInput, strictValidationPipe } from '#libs/platform/http';
import { PriceIndex, type IdentifiedPrice } from '#libs/pricing/core';

import { AUTH_OPTIONS, type AuthOptions } from '../auth-options.js';
import { AuthPriceDirectory } from '../directory/auth-price-directory.js';
import { authenticationRequired } from '../errors.js';
import { callerGuard } from './access.guard.js';
import { callerOf, type CallerRules } from './caller.js';
import { usdJsonNumber } from './decimal-number.js';

const RULES: CallerRules = { schemes: ['ADMIN'], refusal: authenticationRequired };

/** A time; without a zone it is UTC. */
const TIME_PATTERN =
  /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?)?$/;

class PricingQueryDto {
  @IsOptional()
  @Matches(TIME_PATTERN, { message: 'must be a time such as 2026-11-20T10:00:00Z' })
  at?: string;
}

/** `/api/billing/pricing`: the prices in force at a time. */
@Controller('/api/billing/pricing')
@UseFilters(FastapiErrorFilter)
@UseGuards(callerGuard(RULES))
export class PricingController {
  constructor(
    @Inject(AUTH_OPTIONS) private readonly options: AuthOptions,
    private readonly prices: AuthPriceDirectory,
  ) {}

  @Get()
  async list(
    @Req() request: FastifyRequest,
    @Query(strictValidationPipe({ refuseUnknown: true, in: 'query' })) query: PricingQueryDto,
  ): Promise<object> {
    callerOf(request, this.options, RULES);
    const atMs = query.at === undefined ? this.options.runtime.clock.nowMs() : timeMsOf(query.at);
    const book = await this.prices.currentBook();
    const index = new PriceIndex(book);
    const models = new Map(
      book.entries.map((entry) => [`${entry.provider}:${entry.model}`, entry]),
    );
    const rows = [...models]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { provider, model }]) => [name, basePrice(index.find(provider, model, atMs))])
      .filter((row): row is [string, IdentifiedPrice] => row[1] !== undefined)
      .map(([name, entry]) => [name, toCostConfig(entry)]);
    return Object.fromEntries(rows) as object;
  }
}

function timeMsOf(text: string): number {
  const hasZone = /Z$|[+-]\d{2}:\d{2}$/.test(text) || !text.includes('T');
  const timeMs = Date.parse(hasZone ? text : `${text}Z`);
  if (!Number.isNaN(timeMs)) return timeMs;
  const message = 'must be a time that exists';
  throw invalidInput([{ in: 'query', path: ['at'], message, type: 'time' }]);
}

/** The standard tier from the first token on. */
function basePrice(entries: readonly IdentifiedPrice[]): IdentifiedPrice | undefined {
  return entries.find(
    ({ conditions }) => conditions.serviceTier === 'standard' && conditions.inputFrom === 0,
  );
}

function toCostConfig(entry: IdentifiedPrice): object {
  return {
    model_name: entry.model,
    provider: entry.provider.toLowerCase(),
    input_price_per_1k: perThousand(entry.ratesPicoUsd.input_text),
    output_price_per_1k: perThousand(entry.ratesPicoUsd.output_text),
    currency: entry.currency,
    effective_date: entry.effectiveFrom,
    notes: entry.source.url,
  };
}

function perThousand(rate: PicoUsd | undefined): object | null {
  return rate === undefined ? null : usdJsonNumber(picoUsd(rate * 1000n));
}
