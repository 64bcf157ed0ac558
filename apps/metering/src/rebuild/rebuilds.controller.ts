import {
  Body,
  Controller,
  Get,
  HttpCode,
  Param,
  Post,
  UseFilters,
  UseGuards,
} from '@nestjs/common';

import { AppError, formatUsd, parseUuid, toRfc3339 } from '#libs/kernel';
import { ProblemErrorFilter } from '#libs/platform/http';

import { OperatorGuard } from '../dead-letters/operator.guard.js';
import type { RebuildDifference, RebuildFigures } from './rebuild-report.js';
import { readRebuildRequest } from './rebuild-request.js';
import type { Rebuild } from './rebuild-store.js';
import { StartRebuild } from './start-rebuild.use-case.js';

/** Rebuilds that a list shows. */
const MOST_LISTED = 20;

/** What one account says, money as a decimal string. */
interface FiguresOnWire {
  readonly rows: number;
  readonly charge_usd: string;
}

/** A rebuild as the operator sees it. */
export interface RebuildOnWire {
  readonly id: string;
  readonly kind: Rebuild['kind'];
  readonly from: string;
  readonly to: string;
  readonly apply: boolean;
  readonly state: Rebuild['state'];
  /** Hours of rollups, or batches of the ledger. */
  readonly total: number;
  readonly done: number;
  readonly compared: number;
  readonly differing: number;
  readonly repaired: number;
  readonly differences: readonly {
    readonly subject: string;
    readonly outcome: RebuildDifference['outcome'];
    readonly stored: FiguresOnWire | null;
    readonly rebuilt: FiguresOnWire | null;
  }[];
  readonly error: string | null;
  readonly started_at: string;
  readonly finished_at: string | null;
}

/** `/api/rebuilds`: rollups from ledger rows, ledger rows from the log; for the operator. */
@Controller('/api/rebuilds')
@UseFilters(ProblemErrorFilter)
@UseGuards(OperatorGuard)
export class RebuildsController {
  constructor(private readonly rebuilds: StartRebuild) {}

  /** Starts one; it goes on by itself. 409 while another runs, or when the log no longer reaches back. */
  @Post()
  @HttpCode(202)
  async start(@Body() body: unknown): Promise<RebuildOnWire> {
    return toWire(await this.rebuilds.execute(readRebuildRequest(body)));
  }

  /** The latest 20, newest first. */
  @Get()
  async list(): Promise<{ readonly data: readonly RebuildOnWire[] }> {
    return { data: (await this.rebuilds.store.latest(MOST_LISTED)).map(toWire) };
  }

  @Get('/:id')
  async show(@Param('id') id: string): Promise<RebuildOnWire> {
    const rebuildId = parseUuid(id);
    const found = rebuildId === null ? null : await this.rebuilds.store.find(rebuildId);
    if (found !== null) return toWire(found);
    throw new AppError({
      code: 'rebuild.unknown',
      kind: 'not_found',
      publicMessage: 'there is no such rebuild',
    });
  }
}

function toWire(rebuild: Rebuild): RebuildOnWire {
  const { differences, ...report } = rebuild.report;
  const { finishedMs } = rebuild;
  return {
    id: rebuild.rebuildId,
    kind: rebuild.kind,
    from: toRfc3339(rebuild.fromMs),
    to: toRfc3339(rebuild.toMs),
    apply: rebuild.isApplied,
    state: rebuild.state,
    ...report,
    differences: differences.map((difference) => ({
      ...difference,
      stored: toFigures(difference.stored),
      rebuilt: toFigures(difference.rebuilt),
    })),
    error: rebuild.error,
    started_at: toRfc3339(rebuild.createdMs),
    finished_at: finishedMs === null ? null : toRfc3339(finishedMs),
  };
}

function toFigures(figures: RebuildFigures | null): FiguresOnWire | null {
  if (figures === null) return null;
  return { rows: figures.rows, charge_usd: formatUsd(figures.chargePicoUsd) };
}
