/**
 * Whether a value is text of 1 to `most` characters that an SQL text column can hold: well-formed and
 * without U+0000. A character is a code point, as in SQL and JSON Schema, not a UTF-16 unit.
 */
export function isColumnText(value: unknown, most: number): value is string {
  if (typeof value !== 'string' || value.length < 1 || value.length > 2 * most) return false;
  if (!value.isWellFormed() || value.includes('\0')) return false;
  return value.length <= most || Array.from(value).length <= most;
}
