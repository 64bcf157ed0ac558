import {
  Body,
  Controller,
  Delete,
  Get,
  Header,
  HttpCode,
  Inject,
  Param,
  Post,
  Put,
  Query,
  Req,
  Res,
  UseFilters,
  UseGuards,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';

import { parseUuid, type KeyId } from '#libs/kernel';
import { PostgresKeyStore } from '#libs/keys/adapters';
import type { UpdateKeyCommand, VirtualKey } from '#libs/keys/core';
import { FastapiErrorFilter, strictValidationPipe } from '#libs/platform/http';

import { AUTH_OPTIONS, ORGANISATION_ID, type AuthOptions } from '../auth-options.js';
import { accessDenied, authenticationRequired, keyNotFound } from '../errors.js';
import { ChangeKey } from '../use-cases/change-key.use-case.js';
import { CreateKey, type CreateKeyInput } from '../use-cases/create-key.use-case.js';
import { LiveFigures, type KeyView } from '../use-cases/live-figures.js';
import { RotateKey } from '../use-cases/rotate-key.use-case.js';
import { callerGuard } from './access.guard.js';
import { callerOf, type Caller, type CallerRules } from './caller.js';
import { usdOfNumber } from './decimal-number.js';
import { IdempotentRoutes, type SecretAnswer } from './idempotency.js';
import { toKeyResponse } from './key-response.mapping.js';
import {
  CreateKeyRequestDto,
  ListKeysQueryDto,
  RotateKeyRequestDto,
  UpdateKeyRequestDto,
} from './keys.dto.js';
import { ObjectBodyPipe } from './validation.js';

const RULES: CallerRules = { schemes: ['ADMIN'], refusal: authenticationRequired };

/** Owner of keys that the operator creates for nobody in particular. */
const OPERATOR_USER = 'operator';

const lenientBody = strictValidationPipe({ refuseUnknown: false });
const lenientQuery = strictValidationPipe({ refuseUnknown: false, in: 'query' });

/** `/api/keys`: a user's own keys, or every key for the operator. */
@Controller('/api/keys')
@UseFilters(FastapiErrorFilter)
@UseGuards(callerGuard(RULES))
export class KeysController {
  constructor(
    @Inject(AUTH_OPTIONS) private readonly options: AuthOptions,
    private readonly keys: PostgresKeyStore,
    private readonly figures: LiveFigures,
    private readonly createKey: CreateKey,
    private readonly changeKey: ChangeKey,
    private readonly rotateKey: RotateKey,
    private readonly idempotency: IdempotentRoutes,
  ) {}

  @Post()
  @HttpCode(201)
  @Header('cache-control', 'no-store')
  create(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
    @Body(ObjectBodyPipe, lenientBody) body: CreateKeyRequestDto,
  ): Promise<object | string> {
    const caller = this.callerOf(request);
    return this.idempotency.answer(request, reply, caller.actor, async (keep) => {
      const onCreated: CreateKeyInput['onCreated'] = (tx, view) => keep(tx, answerOf(201, view));
      const { secret, view } = await this.createKey.execute({
        ...fromBody(caller, body),
        onCreated,
      });
      return answerOf(201, view).body(secret);
    });
  }

  @Get()
  async list(
    @Req() request: FastifyRequest,
    @Query(lenientQuery) query: ListKeysQueryDto,
  ): Promise<object[]> {
    const { userId } = this.callerOf(request);
    const teamId = query.team_id ?? null;
    const keys = await this.keys.list({ orgId: ORGANISATION_ID, userId, teamId });
    const views = await this.figures.viewsOf(keys, await this.figures.factsOf(keys));
    const { status } = query;
    return views
      .filter((view) => status === undefined || view.status === status)
      .map(toKeyResponse);
  }

  @Get('/:id')
  async read(@Req() request: FastifyRequest, @Param('id') id: string): Promise<object> {
    const key = await this.ownKey(this.callerOf(request), id);
    const [view] = await this.figures.viewsOf([key], await this.figures.factsOf([key]));
    return toKeyResponse(view!);
  }

  @Put('/:id')
  async update(
    @Req() request: FastifyRequest,
    @Param('id') id: string,
    @Body(ObjectBodyPipe, lenientBody) body: UpdateKeyRequestDto,
  ): Promise<object> {
    const caller = this.callerOf(request);
    const { keyId } = await this.ownKey(caller, id);
    const maxBudgetPicoUsd =
      body.max_budget === undefined ? undefined : usdOfNumber(body.max_budget);
    const input = { actor: caller.actor, keyId, change: toChange(body), maxBudgetPicoUsd };
    return toKeyResponse(await this.changeKey.execute(input));
  }

  @Delete('/:id')
  @HttpCode(204)
  async disable(@Req() request: FastifyRequest, @Param('id') id: string): Promise<void> {
    const caller = this.callerOf(request);
    const { keyId } = await this.ownKey(caller, id);
    await this.changeKey.disable(caller.actor, keyId);
  }

  @Post('/:id/rotate')
  @HttpCode(200)
  @Header('cache-control', 'no-store')
  async rotate(
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
    @Param('id') id: string,
    @Body(ObjectBodyPipe, lenientBody) body: RotateKeyRequestDto,
  ): Promise<object | string> {
    const caller = this.callerOf(request);
    const { keyId } = await this.ownKey(caller, id);
    return this.idempotency.answer(request, reply, caller.actor, async (keep) => {
      const { secret, view } = await this.rotateKey.execute({
        actor: caller.actor,
        keyId,
        graceSeconds: body.grace_seconds ?? 0,
        onRotated: (tx, rotated) => keep(tx, answerOf(200, rotated)),
      });
      return answerOf(200, view).body(secret);
    });
  }

  private callerOf(request: FastifyRequest): Caller {
    return callerOf(request, this.options, RULES);
  }

  /** 404 is decided before 403. */
  private async ownKey(caller: Caller, id: string): Promise<VirtualKey> {
    const keyId = parseUuid(id);
    const key = keyId === null ? null : await this.keys.find(ORGANISATION_ID, keyId as KeyId);
    if (key === null) throw keyNotFound();
    if (caller.userId !== null && caller.userId !== key.userId) throw accessDenied();
    return key;
  }
}

function answerOf(status: number, view: KeyView): SecretAnswer {
  return { status, body: (secret) => ({ key: secret, key_data: toKeyResponse(view) }) };
}

function fromBody(caller: Caller, body: CreateKeyRequestDto): CreateKeyInput {
  return {
    actor: caller.actor,
    isOperator: caller.isOperator,
    userId: caller.userId ?? OPERATOR_USER,
    name: body.name,
    teamId: body.team_id ?? null,
    expiresDays: body.expires_days ?? null,
    allowedModels: body.allowed_models ?? null,
    maxBudgetPicoUsd: usdOfNumber(body.max_budget),
    metadata: body.metadata ?? {},
  };
}

function toChange(body: UpdateKeyRequestDto): UpdateKeyCommand {
  return {
    ...(body.name === undefined ? {} : { name: body.name }),
    ...(body.is_active === undefined ? {} : { enabled: body.is_active }),
    ...(body.allowed_models === undefined ? {} : { allowedModels: body.allowed_models }),
    ...(body.metadata === undefined ? {} : { metadata: body.metadata }),
  };
}
