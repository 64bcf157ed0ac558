import { toRfc3339, uuidV4, type Clock, type Random } from '#libs/kernel';
import type { PostgresKeyStore, TeamKey } from '#libs/keys/adapters';
import { isUniqueViolation, type ServiceDataSource } from '#libs/platform/postgres';
import type { PostgresTeamStore } from '#libs/teams/adapters';
import {
  createTeam,
  DEFAULT_TEAM,
  UNLIMITED_POLICY,
  policyStateOf,
  type CreateTeamCommand,
  type Policy,
  type Team,
  type TeamCreation,
} from '#libs/teams/core';

import { ORGANISATION_ID } from '../auth-options.js';
import { limitsNeedPolicy, teamExists, teamNotFound } from '../errors.js';
import type { ControlChange, ControlJournal } from './control-journal.js';

/** A team as its creator asks for it. */
export type CreateTeamInput = Omit<CreateTeamCommand, 'recordId' | 'orgId'> & {
  readonly actor: string;
};

/** A team with how many listed keys and users it has. */
export interface CountedTeam {
  readonly team: Team;
  readonly keyCount: number;
  readonly userCount: number;
}

/** Everything about one team. */
export interface TeamDetail {
  readonly team: Team;
  readonly policy: Policy | null;
  /** In order of creation. */
  readonly keys: readonly TeamKey[];
}

/** Creates a team and, where needed, its policy. */
export class CreateTeam {
  constructor(
    private readonly source: ServiceDataSource,
    private readonly teams: PostgresTeamStore,
    private readonly journal: ControlJournal,
    private readonly clock: Clock,
    private readonly random: Random,
  ) {}

  /** @throws AppError `teams.exists`, `teams.limits_need_policy` */
  async execute(input: CreateTeamInput): Promise<TeamCreation> {
    const { actor, ...given } = input;
    const command = { ...given, recordId: uuidV4(this.random), orgId: ORGANISATION_ID };
    try {
      return await this.source.transaction(async (tx) => {
        const name = input.policy ?? UNLIMITED_POLICY;
        const existing = await this.teams.lockPolicy(tx, ORGANISATION_ID, name);
        const decided = createTeam(command, existing, this.clock.nowMs());
        if (!decided.ok) throw limitsNeedPolicy();
        await this.teams.insert(tx, decided.value.team);
        if (decided.value.policy !== null) await this.teams.savePolicy(tx, decided.value.policy);
        await this.journal.record(tx, actor, changesOf(decided.value));
        return decided.value;
      });
    } catch (error) {
      if (isUniqueViolation(error)) throw teamExists(input.teamId);
      throw error;
    }
  }

  /** Creates team `default` unless it is there; several processes may do so at once. */
  async ensureDefault(): Promise<void> {
    if ((await this.teams.find(ORGANISATION_ID, DEFAULT_TEAM)) !== null) return;
    try {
      await this.execute({
        actor: 'system',
        teamId: DEFAULT_TEAM,
        teamName: 'Default Team',
        description: 'Default team for users without a team',
        policy: null,
        tokenLimit: null,
        timeWindow: null,
      });
    } catch (error) {
      if ((await this.teams.find(ORGANISATION_ID, DEFAULT_TEAM)) === null) throw error;
    }
  }
}

function changesOf({ team, event, policy }: TeamCreation): ControlChange[] {
  const created = { type: 'team.created.v1', subject: team.teamId, data: event };
  if (policy === null) return [created];
  const data = policyStateOf(policy);
  return [{ type: 'policy.changed.v1', subject: policy.name, data }, created];
}

/** Reads teams with their keys. */
export class ReadTeams {
  constructor(
    private readonly teams: PostgresTeamStore,
    private readonly keys: PostgresKeyStore,
    private readonly clock: Clock,
  ) {}

  /** Every live team, ascending by id. */
  async list(): Promise<CountedTeam[]> {
    const now = toRfc3339(this.clock.nowMs());
    const [teams, counts] = await Promise.all([
      this.teams.list(ORGANISATION_ID),
      this.keys.countByTeam(ORGANISATION_ID, now),
    ]);
    const byRecord = new Map(counts.map((count) => [count.teamRecordId, count]));
    return teams.map((team) => {
      const { keyCount = 0, userCount = 0 } = byRecord.get(team.recordId) ?? {};
      return { team, keyCount, userCount };
    });
  }

  /** @throws AppError `teams.not_found` */
  async detail(teamId: string): Promise<TeamDetail> {
    const team = await this.teams.find(ORGANISATION_ID, teamId);
    if (team === null) throw teamNotFound();
    const [policy, keys] = await Promise.all([
      this.teams.findPolicy(ORGANISATION_ID, team.policy),
      this.keys.listOfTeam(team.recordId, toRfc3339(this.clock.nowMs())),
    ]);
    return { team, policy, keys };
  }
}
