/**
 * The cells of the canonical usage vector. Each token is in exactly one cell; a total is a sum of
 * cells, never a fact of its own. Codes are stable for the life of the ledger and only ever added.
 */
export const USAGE_CELLS = {
  input_text: 1,
  input_audio: 2,
  input_image: 3,
  input_video: 4,
  input_tool: 5,
  cache_read_text: 6,
  cache_read_audio: 7,
  cache_read_image: 8,
  cache_read_video: 9,
  cache_write_5m: 10,
  cache_write_1h: 11,
  cache_write_unspecified: 12,
  output_text: 13,
  output_reasoning: 14,
  output_audio: 15,
  output_image: 16,
  output_citation: 17,
  output_video: 18,
  cache_write_30m: 19,
  cache_write_12h: 20,
} as const;

/** The name of a cell. */
export type UsageCell = keyof typeof USAGE_CELLS;

/** Counts per cell, each a non-negative safe integer; a missing cell is zero. */
export type UsageVector = Readonly<Partial<Record<UsageCell, number>>>;

const OUTPUT_CELLS: ReadonlySet<string> = new Set<UsageCell>([
  'output_text',
  'output_reasoning',
  'output_audio',
  'output_image',
  'output_citation',
  'output_video',
]);

/** Input and output tokens of a vector: the group sums used everywhere. */
export function tokenTotals(vector: Readonly<Record<string, number | undefined>>): {
  readonly tokensIn: number;
  readonly tokensOut: number;
} {
  let tokensIn = 0;
  let tokensOut = 0;
  for (const [cell, count] of Object.entries(vector)) {
    if (OUTPUT_CELLS.has(cell)) tokensOut += count ?? 0;
    else tokensIn += count ?? 0;
  }
  return { tokensIn, tokensOut };
}
