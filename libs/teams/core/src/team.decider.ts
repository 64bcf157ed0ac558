import type { PolicyStateV1, TeamStateV1 } from '#libs/events';
import { ok, refused, type Result } from '#libs/kernel';

/** The policy that exists always and limits nothing. */
export const UNLIMITED_POLICY = 'unlimited-policy';
/** The team of users without a team. */
export const DEFAULT_TEAM = 'default';
/** Token limit of a policy that is created without one. */
const DEFAULT_TOKEN_LIMIT = 100_000;
/** Window of a policy that is created without one. */
const DEFAULT_TIME_WINDOW = '1h';

/** A team as the control plane keeps it. */
export interface Team {
  /** UUID of this record; a team created again under a deleted id is another record. */
  readonly recordId: string;
  readonly orgId: string;
  /** A label. */
  readonly teamId: string;
  readonly teamName: string;
  readonly description: string;
  /** Name of its policy. */
  readonly policy: string;
  readonly rev: number;
  readonly createdAtMs: number;
}

/** A named, shared limit of tokens per user and window. */
export interface Policy {
  readonly orgId: string;
  readonly name: string;
  readonly unlimited: boolean;
  /** Tokens per window, > 0; null = unlimited. */
  readonly tokenLimit: number | null;
  /** A time window; null = unlimited. */
  readonly timeWindow: string | null;
  readonly rev: number;
}

/** A new team as asked for; absent limits are null. */
export interface CreateTeamCommand {
  readonly recordId: string;
  readonly orgId: string;
  readonly teamId: string;
  readonly teamName: string;
  readonly description: string;
  readonly policy: string | null;
  /** Any integer; <= 0 means the default. */
  readonly tokenLimit: number | null;
  readonly timeWindow: string | null;
}

/** What creating a team does. */
export interface TeamCreation {
  readonly team: Team;
  readonly event: TeamStateV1;
  /** The policy to store; null when it stays as it is. */
  readonly policy: Policy | null;
  /** Whether an existing policy is changed, for every team naming it. */
  readonly policyUpdated: boolean;
}

/** The unlimited policy. */
export function unlimitedPolicy(orgId: string): Policy {
  return {
    orgId,
    name: UNLIMITED_POLICY,
    unlimited: true,
    tokenLimit: null,
    timeWindow: null,
    rev: 1,
  };
}

/**
 * A new team and what becomes of its policy.
 * @param existing the policy of the asked name; null when there is none
 * @returns `limits_need_policy` for limits without a named policy
 */
export function createTeam(
  command: CreateTeamCommand,
  existing: Policy | null,
  nowMs: number,
): Result<TeamCreation, 'limits_need_policy'> {
  const policyName = command.policy ?? UNLIMITED_POLICY;
  const hasLimits = command.tokenLimit !== null || command.timeWindow !== null;
  if (hasLimits && policyName === UNLIMITED_POLICY) return refused('limits_need_policy');
  const team: Team = {
    recordId: command.recordId,
    orgId: command.orgId,
    teamId: command.teamId,
    teamName: command.teamName,
    description: command.description,
    policy: policyName,
    rev: 1,
    createdAtMs: nowMs,
  };
  const policy = policyAfter(command, policyName, existing);
  return ok({
    team,
    event: teamStateOf(team),
    policy,
    policyUpdated: policy !== null && existing !== null,
  });
}

function policyAfter(
  command: CreateTeamCommand,
  name: string,
  existing: Policy | null,
): Policy | null {
  if (name === UNLIMITED_POLICY) return existing === null ? unlimitedPolicy(command.orgId) : null;
  const given = command.tokenLimit !== null && command.tokenLimit > 0 ? command.tokenLimit : null;
  const asked = command.tokenLimit === null ? null : (given ?? DEFAULT_TOKEN_LIMIT);
  const after: Policy = {
    orgId: command.orgId,
    name,
    unlimited: false,
    tokenLimit: asked ?? existing?.tokenLimit ?? DEFAULT_TOKEN_LIMIT,
    timeWindow: command.timeWindow ?? existing?.timeWindow ?? DEFAULT_TIME_WINDOW,
    rev: (existing?.rev ?? 0) + 1,
  };
  const isSame =
    existing?.tokenLimit === after.tokenLimit && existing.timeWindow === after.timeWindow;
  return isSame ? null : after;
}

/** The public state of a team as events carry it. */
export function teamStateOf(team: Team): TeamStateV1 {
  return {
    team_id: team.teamId,
    org_id: team.orgId,
    team_name: team.teamName,
    description: team.description,
    policy: team.policy,
    deleted: false,
    rev: team.rev,
  };
}

/** The public state of a policy as events carry it. */
export function policyStateOf(policy: Policy): PolicyStateV1 {
  return {
    org_id: policy.orgId,
    name: policy.name,
    unlimited: policy.unlimited,
    token_limit: policy.tokenLimit,
    time_window: policy.timeWindow,
    rev: policy.rev,
  };
}
