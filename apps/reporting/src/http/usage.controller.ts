import { Controller, Get, Query, Req, UseFilters, UseGuards } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

import { AppError, Clock, toRfc3339 } from '#libs/kernel';
import { ProblemErrorFilter } from '#libs/platform/http';
import {
  MeteringProgress,
  UsageReader,
  type LedgerProgress,
  type UsageFilter,
} from '#libs/usage/core';

import { CallerGuard, callerOf, type UsageCaller } from './caller.guard.js';
import { formatPageCursor } from './page-cursor.js';
import {
  toApiAttempt,
  toApiProgress,
  toApiSums,
  toApiTotal,
  type AttemptOnWire,
  type ProgressOnWire,
  type SumsOnWire,
} from './usage-answer.mapping.js';
import {
  readAttemptsQuery,
  readSumsQuery,
  type AskedFilter,
  type RawQuery,
} from './usage.query.js';

/** Most rows of one answer of sums; beyond it the question is refused. */
const MAX_SUMS_ROWS = 10_000;

/** The body of `GET /v1/usage`. */
export interface UsageOnWire extends ProgressOnWire {
  readonly start: string;
  readonly end: string;
  readonly bucket: string;
  readonly data: readonly SumsOnWire[];
  readonly total: SumsOnWire;
}

/** The body of `GET /v1/usage/requests`. */
export interface AttemptsOnWire extends ProgressOnWire {
  readonly data: readonly AttemptOnWire[];
  readonly has_more: boolean;
  readonly next_page: string | null;
}

/** The native usage API: sums and attempts, for the operator and for each key about itself. */
@Controller('v1/usage')
@UseFilters(ProblemErrorFilter)
@UseGuards(CallerGuard)
export class UsageController {
  constructor(
    private readonly reader: UsageReader,
    private readonly metering: MeteringProgress,
    private readonly clock: Clock,
  ) {}

  /** Sums of the attempts in [start, end), by bucket and group. */
  @Get()
  async sums(@Req() request: FastifyRequest, @Query() query: RawQuery): Promise<UsageOnWire> {
    const asked = readSumsQuery(query, this.clock.nowMs());
    const progress = await this.progress();
    const filter = visibleFilter(callerOf(request), asked);
    const { bucket, groupBy } = asked;
    const rows =
      filter === null
        ? []
        : await this.reader.sums({ ...filter, bucket, groupBy, maxRows: MAX_SUMS_ROWS });
    return {
      start: toRfc3339(asked.startMs),
      end: toRfc3339(asked.endMs),
      bucket,
      data: rows.map(toApiSums),
      total: toApiTotal(rows),
      ...toApiProgress(progress),
    };
  }

  /** Attempts in [start, end), newest first, page by page. */
  @Get('requests')
  async attempts(
    @Req() request: FastifyRequest,
    @Query() query: RawQuery,
  ): Promise<AttemptsOnWire> {
    const asked = readAttemptsQuery(query, this.clock.nowMs());
    const progress = await this.progress();
    const filter = visibleFilter(callerOf(request), asked);
    const { after, limit, startMs, endMs } = asked;
    const found = filter === null ? [] : await this.reader.attempts(filter, after, limit + 1);
    const shown = found.slice(0, limit);
    const last = shown.at(-1);
    const hasMore = found.length > limit && last !== undefined;
    return {
      data: shown.map(toApiAttempt),
      has_more: hasMore,
      next_page: hasMore ? formatPageCursor({ startMs, endMs, after: last }) : null,
      ...toApiProgress(progress),
    };
  }

  /**
   * Asked before the rows are read, so that no answer claims to be complete beyond what it has seen.
   * @returns null while metering cannot be reached: the figures stand, nothing is claimed of them
   */
  private async progress(): Promise<LedgerProgress | null> {
    try {
      return await this.metering.progress();
    } catch (error) {
      if (error instanceof AppError && error.kind === 'unavailable') return null;
      throw error;
    }
  }
}

/** The question within the caller's rights. @returns null when it asks for another's rows only */
function visibleFilter(caller: UsageCaller, asked: AskedFilter): UsageFilter | null {
  const { startMs, endMs, keyIds, teamIds, userIds, models, providers } = asked;
  const rest = { orgId: caller.orgId, startMs, endMs, teamIds, userIds, models, providers };
  if (caller.kind === 'operator') return { ...rest, keyIds };
  const mayBeAsked = keyIds.length === 0 || keyIds.includes(caller.keyId);
  return mayBeAsked ? { ...rest, keyIds: [caller.keyId] } : null;
}
