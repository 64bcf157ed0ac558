import type { SqlMigration } from '#libs/platform/postgres';

import { CreateMetering } from './0001_create_metering.js';
import { AskForGaps } from './0002_ask_for_gaps.js';
import { SealBatches } from './0003_seal_batches.js';
import { KeepWherePlansRead } from './0004_keep_where_plans_read.js';

/** Migrations of schema `metering`, in the order in which they are applied. */
export const METERING_MIGRATIONS: readonly (new () => SqlMigration)[] = [
  CreateMetering,
  AskForGaps,
  SealBatches,
  KeepWherePlansRead,
];
