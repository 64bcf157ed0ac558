import { AppError } from '#libs/kernel';
import type { ClickHouseSession } from '#libs/platform/clickhouse';

/**
 * What a table must say of itself for a token to store once and an answered insert to be on disk.
 * The window is 0 by default, which turns deduplication off.
 */
const REQUIRED: Readonly<Record<string, string>> = {
  non_replicated_deduplication_window: '10000',
  fsync_after_insert: '1',
  fsync_part_directory: '1',
};

/** The tables of the ledger and the engine of each. */
const TABLES: Readonly<Record<string, string>> = {
  raw_usage_v1: 'MergeTree',
  raw_rejection_v1: 'MergeTree',
  batch_seal: 'ReplacingMergeTree',
  rollup_hour: 'ReplacingMergeTree',
  rollup_merged: 'MergeTree',
  rollup_merged_batch: 'MergeTree',
  rollup_merged_day: 'MergeTree',
  rollup_run: 'MergeTree',
};

/** One setting of one table that is not what the sink rests on. */
interface SettingDifference {
  readonly table: string;
  readonly setting: string;
  readonly required: string;
  /** null = not set, so the engine's default holds. */
  readonly actual: string | null;
}

/**
 * Compares the settings of the ledger's tables with what the sink rests on.
 * @throws AppError `usage.settings` with every difference in message and details
 */
export async function checkLedgerSettings(session: ClickHouseSession): Promise<void> {
  const found = await session.rows<{ name: string; engine: string; engine_full: string }>(
    {
      name: 'usage.table_settings',
      sql:
        'SELECT name, engine, engine_full FROM system.tables ' +
        'WHERE database = currentDatabase() AND name IN {tables:Array(String)}',
    },
    { tables: Object.keys(TABLES) },
  );
  const differences = Object.entries(TABLES).flatMap(([table, engine]) => {
    const row = found.find((candidate) => candidate.name === table);
    const actual = { engine: row?.engine ?? null, settings: settingsOf(row?.engine_full ?? '') };
    return differencesOf(table, engine, actual);
  });
  if (differences.length === 0) return;
  const listed = differences
    .map((one) => `${one.table}: ${one.setting} is ${one.actual ?? 'not set'}, not ${one.required}`)
    .join('; ');
  throw new AppError({
    code: 'usage.settings',
    kind: 'internal',
    publicMessage: 'the usage store is not set up as it must be',
    internalMessage: `the usage store is not set up as it must be: ${listed}`,
    details: { differences },
  });
}

function differencesOf(
  table: string,
  engine: string,
  { engine: found, settings }: { engine: string | null; settings: ReadonlyMap<string, string> },
): readonly SettingDifference[] {
  const differences: SettingDifference[] = [];
  if (found !== engine) {
    differences.push({ table, setting: 'engine', required: engine, actual: found });
  }
  for (const [setting, required] of Object.entries(REQUIRED)) {
    const actual = settings.get(setting) ?? null;
    if (actual !== required) differences.push({ table, setting, required, actual });
  }
  return differences;
}

/** The assignments behind SETTINGS in a table's definition. */
function settingsOf(engineFull: string): ReadonlyMap<string, string> {
  const text = /\bSETTINGS\s+(.*)$/s.exec(engineFull)?.[1] ?? '';
  return new Map(
    text.split(',').map((assignment) => {
      const [name = '', value = ''] = assignment.split('=').map((part) => part.trim());
      return [name, value.replaceAll("'", '')] as const;
    }),
  );
}
