import { SqlMigration } from '#libs/platform/postgres';

/** When a gap was asked for, which records the ledger refused, and rated messages by batch. */
export class AskForGaps extends SqlMigration {
  override readonly number = 2;
  override readonly title = 'ask_for_gaps';
  override readonly sql = `
    -- asked_at: when the emitter was last asked for the range, or last sent some of it; null = never.
    -- asks: how often it was asked; the pause before the next follows from it.
    ALTER TABLE emitter_gap
      ADD COLUMN asked_at timestamptz,
      ADD COLUMN asks integer NOT NULL DEFAULT 0 CHECK (asks >= 0);

    -- Offsets of records whose rows the ledger refuses: a row at the hold stands for those of refused,
    -- none for those of unbooked.
    ALTER TABLE sink_plan
      ADD COLUMN refused bigint[] NOT NULL DEFAULT '{}',
      ADD COLUMN unbooked bigint[] NOT NULL DEFAULT '{}';

    -- Rated messages are sent once more by the id of their batch.
    CREATE INDEX outbox_key ON outbox (topic, lane, key);
  `;
}
