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
import type { FastifyRequest } from 'fastify';

import { AppError } from '#libs/kernel';
import { GinErrorFilter, hasSecret, strictValidationPipe } from '#libs/platform/http';

import type { AuthOptions } from '../auth-options.js';
import { CreateTeam, ReadTeams } from '../use-cases/teams.use-case.js';
import { accessGuard } from './access.guard.js';
import { CreateTeamRequestDto } from './teams.dto.js';
import {
  toCountedTeamResponse,
  toTeamDetailResponse,
  toTeamResponse,
} from './team-response.mapping.js';
import { ObjectBodyPipe } from './validation.js';

const SCHEMES = ['ADMIN', 'Bearer'];

/** `/teams`: teams and their policies, for the operator. */
@Controller('/teams')
@UseFilters(GinErrorFilter)
@UseGuards(accessGuard(assertOperator))
export class TeamsController {
  constructor(
    private readonly createTeam: CreateTeam,
    private readonly readTeams: ReadTeams,
  ) {}

  @Post()
  @HttpCode(200)
  async create(
    @Body(ObjectBodyPipe, strictValidationPipe({ refuseUnknown: false }))
    body: CreateTeamRequestDto,
  ): Promise<object> {
    const created = await this.createTeam.execute({
      actor: 'operator',
      teamId: body.team_id,
      teamName: body.team_name,
      description: body.description ?? '',
      policy: body.policy ?? null,
      tokenLimit: body.token_limit ?? null,
      timeWindow: body.time_window ?? null,
    });
    const team = toTeamResponse(created.team);
    return created.policyUpdated ? { ...team, policy_updated: true } : team;
  }

  @Get()
  async list(): Promise<object> {
    const teams = await this.readTeams.list();
    return { teams: teams.map(toCountedTeamResponse), total_teams: teams.length };
  }

  @Get('/:id')
  async read(@Param('id') id: string): Promise<object> {
    return toTeamDetailResponse(await this.readTeams.detail(id));
  }
}

function assertOperator(request: FastifyRequest, options: AuthOptions): void {
  const { authorization } = request.headers;
  if (authorization === undefined) throw refusal('Authorization header required');
  if (hasSecret(authorization, SCHEMES, options.adminApiKey)) return;
  const isKnownScheme = /^(admin|bearer) /i.test(authorization);
  throw refusal(
    isKnownScheme
      ? 'Invalid admin key'
      : 'Invalid authorization format. Use: Authorization: ADMIN <key>',
  );
}

function refusal(publicMessage: string): AppError {
  return new AppError({ code: 'auth.operator_required', kind: 'unauthenticated', publicMessage });
}
