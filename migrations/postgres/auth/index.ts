import type { SqlMigration } from '#libs/platform/postgres';

import { CreateControlState } from './0001_create_control_state.js';

/** Migrations of schema `auth`, in order of number. */
export const AUTH_MIGRATIONS: readonly (new () => SqlMigration)[] = [CreateControlState];
