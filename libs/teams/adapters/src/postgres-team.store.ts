import { IsNull, type EntityManager } from 'typeorm';

import type { EntityTransaction } from '#libs/platform/postgres';
import type { Policy, Team } from '#libs/teams/core';

import { PolicyEntity } from './policy.entity.js';
import { TeamEntity } from './team.entity.js';

/** Teams and policies in schema `auth`. */
export class PostgresTeamStore {
  constructor(private readonly manager: () => EntityManager) {}

  /** The live team of an id; null when there is none. */
  async find(orgId: string, teamId: string): Promise<Team | null> {
    const where = { orgId, teamId, deletedAtMs: IsNull() };
    const row = await this.manager().findOneBy(TeamEntity, where);
    return row === null ? null : fromTeamEntity(row);
  }

  /** Live teams, ascending by id. */
  async list(orgId: string): Promise<Team[]> {
    const rows = await this.manager().find(TeamEntity, {
      where: { orgId, deletedAtMs: IsNull() },
      order: { teamId: 'ASC' },
    });
    return rows.map(fromTeamEntity);
  }

  /** Adds a team. @throws a unique violation when its id is taken */
  async insert(tx: EntityTransaction, team: Team): Promise<void> {
    await tx.manager.insert(TeamEntity, { ...team, deletedAtMs: null });
  }

  /** A policy by name; null when there is none. */
  async findPolicy(orgId: string, name: string): Promise<Policy | null> {
    return this.manager().findOneBy(PolicyEntity, { orgId, name });
  }

  /** The same, locked until the transaction ends. */
  async lockPolicy(tx: EntityTransaction, orgId: string, name: string): Promise<Policy | null> {
    return tx.manager.findOne(PolicyEntity, {
      where: { orgId, name },
      lock: { mode: 'pessimistic_write' },
    });
  }

  /** Adds a policy, or replaces the one of that name. */
  async savePolicy(tx: EntityTransaction, policy: Policy): Promise<void> {
    await tx.manager.upsert(PolicyEntity, { ...policy }, ['orgId', 'name']);
  }
}

function fromTeamEntity(row: TeamEntity): Team {
  const { deletedAtMs: _deleted, ...team } = row;
  return team;
}
