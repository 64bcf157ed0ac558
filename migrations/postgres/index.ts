import type { PostgresMigrations } from '#libs/platform/postgres';
import { AUTH_MIGRATIONS } from './auth/index.js';
import { BUDGET_MIGRATIONS } from './budget/index.js';
import { EVENT_LOG_MIGRATIONS } from './event_log/index.js';
import { JOBS_MIGRATIONS } from './jobs/index.js';
import { METERING_MIGRATIONS } from './metering/index.js';

/** Every PostgreSQL migration, per schema in order; none is ever changed after a release. */
export const POSTGRES_MIGRATIONS: PostgresMigrations = {
  auth: AUTH_MIGRATIONS,
  budget: BUDGET_MIGRATIONS,
  event_log: EVENT_LOG_MIGRATIONS,
  jobs: JOBS_MIGRATIONS,
  metering: METERING_MIGRATIONS,
};
