import { SqlMigration } from '#libs/platform/postgres';

/** Where the records of a batch begin, which is not always where its range does. */
export class KeepWherePlansRead extends SqlMigration {
  override readonly number = 4;
  override readonly title = 'keep_where_plans_read';
  override readonly sql = `
    -- Offset of the first record that input_sha256 covers: beyond first_offset when the records before
    -- it were gone or stepped over; null = first_offset, in plans of releases that do not write it.
    -- No CHECK: adding one scans the table under a lock that holds up every batch.
    ALTER TABLE sink_plan ADD COLUMN read_from bigint;
  `;
}
