import {
  Body,
  Controller,
  Delete,
  Get,
  HttpCode,
  Inject,
  Param,
  Put,
  Query,
  Req,
  Res,
  UseFilters,
  UseGuards,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';

import type { BudgetRow } from '#libs/budgets/core';
import { parseUuid } from '#libs/kernel';
import {
  FastapiErrorFilter,
  invalidInput,
  strictValidationPipe,
  type FieldFault,
} from '#libs/platform/http';

import { AUTH_OPTIONS, ORGANISATION_ID, type AuthOptions } from '../auth-options.js';
import { keyNotFound, notAuthenticated } from '../errors.js';
import { budgetTag, EditBudgets, type BudgetEditor } from '../use-cases/edit-budget.use-case.js';
import { fromBudgetBody, toBudgetResponse } from './budget-response.mapping.js';
import {
  ListBudgetsQueryDto,
  PutBudgetRequestDto,
  ReplaceBudgetRequestDto,
} from './budgets.dto.js';
import { callerGuard } from './access.guard.js';
import { callerOf, type CallerRules } from './caller.js';
import { ObjectBodyPipe } from './validation.js';

const RULES: CallerRules = { schemes: ['ADMIN', 'Bearer'], refusal: notAuthenticated };

const DEFAULT_PAGE_ROWS = 100;

const strictBody = strictValidationPipe({ refuseUnknown: true });
const strictQuery = strictValidationPipe({ refuseUnknown: true, in: 'query' });

/** `/api/budgets`: budget rows of every scope with their live figures. */
@Controller('/api/budgets')
@UseFilters(FastapiErrorFilter)
@UseGuards(callerGuard(RULES))
export class BudgetsController {
  constructor(
    @Inject(AUTH_OPTIONS) private readonly options: AuthOptions,
    private readonly budgets: EditBudgets,
  ) {}

  @Get()
  async list(
    @Req() request: FastifyRequest,
    @Query(strictQuery) query: ListBudgetsQueryDto,
  ): Promise<object> {
    const editor = this.editorOf(request);
    const limit = query.limit ?? DEFAULT_PAGE_ROWS;
    const filter = {
      scope: query.scope ?? null,
      scopeId: query.scope_id === undefined ? null : (parseUuid(query.scope_id) ?? query.scope_id),
      period: query.period ?? null,
      enabled: query.enabled === undefined ? null : query.enabled === 'true',
      afterId: query.page ?? null,
    };
    const rows = await this.budgets.list(editor, filter, limit + 1);
    const views = await this.budgets.viewsOf(rows.slice(0, limit));
    const has_more = rows.length > limit;
    const next_page = has_more ? rows[limit - 1]!.budgetId : null;
    return { data: views.map(toBudgetResponse), has_more, next_page };
  }

  @Get('/:id')
  async read(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
    @Param('id') id: string,
  ): Promise<object> {
    return this.answer(reply, await this.budgets.find(this.editorOf(request), budgetIdOf(id)));
  }

  @Put()
  async put(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
    @Body(ObjectBodyPipe, strictBody) body: PutBudgetRequestDto,
  ): Promise<object> {
    const editor = this.editorOf(request);
    const { scope, period } = body;
    const scopeId = scope === 'key' ? keyIdOf(body.scope_id) : body.scope_id;
    const target = { orgId: ORGANISATION_ID, scope, scopeId, period };
    const { row, created } = await this.budgets.put(editor, target, fromBudgetBody(body));
    reply.code(created ? 201 : 200);
    return this.answer(reply, row);
  }

  @Put('/:id')
  async replace(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
    @Param('id') id: string,
    @Body(ObjectBodyPipe, strictBody) body: ReplaceBudgetRequestDto,
  ): Promise<object> {
    const editor = this.editorOf(request);
    const row = await this.budgets.find(editor, budgetIdOf(id));
    assertSameTarget(row, body);
    const ifMatch = request.headers['if-match'] ?? null;
    const settings = fromBudgetBody(body);
    return this.answer(reply, await this.budgets.replace(editor, row.budgetId, settings, ifMatch));
  }

  @Delete('/:id')
  @HttpCode(204)
  async remove(@Req() request: FastifyRequest, @Param('id') id: string): Promise<void> {
    await this.budgets.remove(this.editorOf(request), budgetIdOf(id));
  }

  private editorOf(request: FastifyRequest): BudgetEditor {
    return callerOf(request, this.options, RULES);
  }

  private async answer(reply: FastifyReply, row: BudgetRow): Promise<object> {
    const [view] = await this.budgets.viewsOf([row]);
    reply.header('etag', budgetTag(row));
    return toBudgetResponse(view!);
  }
}

function keyIdOf(text: string): string {
  const keyId = parseUuid(text);
  if (keyId === null) throw keyNotFound();
  return keyId;
}

function budgetIdOf(text: string): string {
  const id = parseUuid(text);
  if (id !== null) return id;
  throw invalidInput([{ in: 'path', path: ['id'], message: 'must be a UUID', type: 'uuid' }]);
}

function assertSameTarget(row: BudgetRow, body: ReplaceBudgetRequestDto): void {
  const { scope, scope_id: scopeId, period } = body;
  const moved: string[] = [];
  if (scope !== undefined && scope !== row.scope) moved.push('scope');
  if (scopeId !== undefined && (parseUuid(scopeId) ?? scopeId) !== row.scopeId) {
    moved.push('scope_id');
  }
  if (period !== undefined && period !== row.period) moved.push('period');
  if (moved.length > 0) throw invalidInput(moved.map(toMovedFault));
}

function toMovedFault(member: string): FieldFault {
  const message = "must be the row's own; a budget cannot be moved";
  return { in: 'body', path: [member], message, type: 'moved' };
}
