/** The list that admits every model. */
export const EVERY_MODEL: readonly string[] = ['*'];

/**
 * Whether a list admits a model under any of its names: an entry admits by equality, or by prefix when
 * it ends in `*`. Linear in the length of the list and of the names.
 * @param names the requested name first, then others of the same model
 */
export function isModelAllowed(allowed: readonly string[], names: readonly string[]): boolean {
  return allowed.some((entry) => names.some((name) => admits(entry, name)));
}

function admits(entry: string, name: string): boolean {
  return entry.endsWith('*') ? name.startsWith(entry.slice(0, -1)) : entry === name;
}

/** A list as stored: `null` and `[]` admit everything. */
export function normalAllowList(list: readonly string[] | null): readonly string[] {
  return list === null || list.length === 0 ? EVERY_MODEL : list;
}
