import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Looks on the disk of a killed ClickHouse for its crash window: a token is written to a table's
 * deduplication log before its part is renamed into place, so that a kill between the two leaves a
 * token that is known and rows that are not there; a retry under that token would store nothing.
 * @returns names of parts that a deduplication log knows and no part on disk covers
 * @source ClickHouse source, src/Storages/MergeTree/MergeTreeSink.cpp, MergeTreeDeduplicationLog.cpp
 */
export function partsKnownButAbsent(dataDir: string): readonly string[] {
  const absent: string[] = [];
  for (const table of tableFolders(join(dataDir, 'store'))) {
    const entries = readdirSync(table);
    if (!entries.includes('deduplication_logs')) continue;
    const parts = entries.map(rangeOf).filter((range) => range !== null);
    const logs = join(table, 'deduplication_logs');
    for (const file of readdirSync(logs)) {
      for (const line of readFileSync(join(logs, file), 'utf8').split('\n')) {
        const [operation, name = ''] = line.split('\t');
        const wanted = operation === '1' ? rangeOf(name) : null;
        if (wanted === null) continue;
        const isThere = parts.some(
          (part) =>
            part.partition === wanted.partition &&
            part.least <= wanted.least &&
            part.most >= wanted.most,
        );
        if (!isThere) absent.push(name);
      }
    }
  }
  return absent;
}

/**
 * Makes the same state by hand in a ClickHouse that is not running: takes away the newest part of the
 * table whose deduplication log is the longest.
 */
export function removeNewestPart(dataDir: string): void {
  const logs = tableFolders(join(dataDir, 'store'))
    .filter((table) => readdirSync(table).includes('deduplication_logs'))
    .flatMap((table) =>
      readdirSync(join(table, 'deduplication_logs')).map((file) => ({
        table,
        text: readFileSync(join(table, 'deduplication_logs', file), 'utf8').trim(),
      })),
    )
    .toSorted((a, b) => b.text.length - a.text.length);
  const newest = logs[0]?.text.split('\n').at(-1)?.split('\t')[1];
  if (newest === undefined) throw new Error('no part was ever inserted');
  rmSync(join(logs[0]!.table, newest), { recursive: true });
}

function tableFolders(store: string): readonly string[] {
  return readdirSync(store).flatMap((prefix) =>
    readdirSync(join(store, prefix)).map((table) => join(store, prefix, table)),
  );
}

interface PartRange {
  readonly partition: string;
  readonly least: number;
  readonly most: number;
}

/** `<partition>_<first block>_<last block>_<level>` */
function rangeOf(name: string): PartRange | null {
  const found = /^(\w+?)_(\d+)_(\d+)_\d+(?:_\d+)?$/.exec(name);
  if (found === null) return null;
  return { partition: found[1]!, least: Number(found[2]), most: Number(found[3]) };
}
