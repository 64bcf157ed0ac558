import { runMigrations } from 'bullmq';
import type { QueryRunner } from 'typeorm';

import { SqlMigration } from '#libs/platform/postgres';

/** Statements of BullMQ's runner that belong to the transaction in which a migration of ours runs. */
const TRANSACTION = /^(BEGIN|COMMIT|ROLLBACK)$/;

/**
 * Tables and functions of the job queues, as the installed release of BullMQ brings them: its own
 * migrations run inside ours. A release that adds some needs another class like this one, which a
 * test asks for.
 */
export class CreateJobs extends SqlMigration {
  override readonly number = 1;
  override readonly title = 'create_jobs';
  /** Not used: the statements are BullMQ's. */
  override readonly sql = '';

  override async up(runner: QueryRunner): Promise<void> {
    await runMigrations(
      {
        query: async (text, params) => {
          if (TRANSACTION.test(text)) return { rows: [], rowCount: 0 };
          const result = await runner.query(text, params === undefined ? [] : [...params], true);
          return { rows: result.records ?? [], rowCount: result.affected ?? 0 };
        },
      },
      'jobs',
    );
  }
}
