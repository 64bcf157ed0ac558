import { toRfc3339 } from '#libs/kernel';
import type { TeamKey } from '#libs/keys/adapters';
import type { Team } from '#libs/teams/core';

import type { CountedTeam, TeamDetail } from '../use-cases/teams.use-case.js';

/** A time in whole seconds, as team routes show it. */
function wholeSeconds(timeMs: number): string {
  return toRfc3339(timeMs).replace(/\.\d+Z$/, 'Z');
}

/** A team without its keys. */
export function toTeamResponse(team: Team): object {
  return {
    team_id: team.teamId,
    team_name: team.teamName,
    description: team.description,
    policy: team.policy,
    created_at: wholeSeconds(team.createdAtMs),
  };
}

/** A team in the list. */
export function toCountedTeamResponse({ team, keyCount, userCount }: CountedTeam): object {
  return { ...toTeamResponse(team), key_count: keyCount, user_count: userCount };
}

/** Everything about one team: keys by name, users as objects ascending by id. */
export function toTeamDetailResponse({ team, policy, keys }: TeamDetail): object {
  const users = usersOf(team, keys);
  return {
    ...toTeamResponse(team),
    key_count: keys.length,
    user_count: users.length,
    keys: keys.map(({ secretName }) => secretName).sort(),
    users,
    token_limit: policy?.tokenLimit ?? null,
    time_window: policy?.timeWindow ?? null,
  };
}

/** A user is a member since the first of their listed keys. */
function usersOf(team: Team, keys: readonly TeamKey[]): object[] {
  const first = new Map<string, TeamKey>();
  for (const key of keys) if (!first.has(key.userId)) first.set(key.userId, key);
  return [...first.values()]
    .sort((a, b) => (a.userId < b.userId ? -1 : 1))
    .map((key) => ({
      user_id: key.userId,
      user_email: key.userEmail,
      role: 'member',
      team_id: team.teamId,
      team_name: team.teamName,
      joined_at: wholeSeconds(key.createdAtMs),
      policy: team.policy,
    }));
}
