/** What a failure of the engine means for the writer. */
export type SqliteFault = 'in_use' | 'disk_full' | 'damaged' | 'malformed' | 'unsafe' | 'other';

/**
 * Sorts a failure by its result code. `unsafe`: a sync failed, so what the kernel holds of the file is
 * unknown and only a restart reads the truth; `damaged`: the file is not what SQLite wrote; `malformed`:
 * a statement does not fit the file's tables or values.
 * @source https://www.sqlite.org/rescode.html
 */
export function sqliteFault(error: unknown): SqliteFault {
  const errcode = (error as { errcode?: unknown } | null)?.errcode;
  if (typeof errcode !== 'number') return 'other';
  if (errcode === 1034 || errcode === 1290) return 'unsafe';
  switch (errcode & 0xff) {
    case 5:
      return 'in_use';
    case 13:
      return 'disk_full';
    case 1:
    case 20:
      return 'malformed';
    case 11:
    case 26:
      return 'damaged';
    default:
      return 'other';
  }
}
