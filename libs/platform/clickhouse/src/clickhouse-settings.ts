import type { ClickHouseSettings } from '@clickhouse/client';

/** What a session is for: `write` runs its calls one after the other, `read` is bounded in time. */
export type SessionPurpose = 'write' | 'read';

/** Longest a read may run in the engine, seconds; a question above it is cut off, never the writes. */
const READ_DEADLINE_S = 30;

/** Most rows of one insert; above it an insert could be cut into several blocks. */
export const MAX_INSERT_ROWS = 50_000;

/** Rows a block may hold, far above `MAX_INSERT_ROWS`, so that one insert is one block. */
const BLOCK_ROWS = 1_048_449;

/** Bytes a block may hold; above any body that `MAX_INSERT_ROWS` rows can make. */
const BLOCK_BYTES = 1_073_741_824;

/**
 * Every setting that our queries rest on. The whole set goes with every query, because on the
 * embedded engine a setting stays in force for the session once it was sent: what is left out is
 * whatever the query before left behind. `readonly` is never among them: it cannot be taken back.
 * @source ClickHouse documentation, "Settings / Session Settings" and "Format Settings"
 */
const COMMON_SETTINGS: ClickHouseSettings = {
  output_format_json_quote_64bit_integers: 1,
  output_format_json_quote_decimals: 1,
  output_format_json_quote_denormals: 1,
  output_format_json_escape_forward_slashes: 0,
  date_time_output_format: 'iso',
  date_time_input_format: 'best_effort',
  input_format_skip_unknown_fields: 0,
  input_format_null_as_default: 0,
  input_format_parallel_parsing: 0,
  max_insert_threads: '1',
  max_insert_block_size: String(BLOCK_ROWS),
  min_insert_block_size_rows: String(BLOCK_ROWS),
  min_insert_block_size_bytes: String(BLOCK_BYTES),
  async_insert: 0,
  wait_end_of_query: 1,
  insert_deduplicate: 1,
  insert_deduplication_token: '',
  lightweight_deletes_sync: '2',
  mutations_sync: '2',
  session_timezone: 'UTC',
};

/** The complete set for a session of a purpose. */
export function settingsFor(purpose: SessionPurpose): ClickHouseSettings {
  return { ...COMMON_SETTINGS, max_execution_time: purpose === 'read' ? READ_DEADLINE_S : 0 };
}
