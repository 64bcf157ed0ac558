import { PolicyEntity } from './policy.entity.js';
import { TeamEntity } from './team.entity.js';

export * from './postgres-team.store.js';

/** Entity classes of this lib, for the data source of schema `auth`. */
export const TEAM_ENTITIES = [TeamEntity, PolicyEntity] as const;
