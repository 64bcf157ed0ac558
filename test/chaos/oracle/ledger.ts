import type { LedgerRow } from './facts.js';
import { pico } from './money.js';

/** Reads the ledger over ClickHouse's HTTP interface, by plain SQL. */
export class Ledger {
  constructor(
    private readonly url: string,
    private readonly database: string,
  ) {}

  /** Every row of the ledger. @throws Error with the store's answer */
  async rows(): Promise<readonly LedgerRow[]> {
    const found = await this.query(
      `SELECT event_id, request_id, attempt, key_id, team_id, model, provenance, cost_usd,
         charge_usd, hold_usd, emitter_id, lane, emitter_seq
       FROM ${this.database}.raw_usage_v1`,
    );
    return found.map((row) => ({
      attemptId: `req-${String(row['request_id']).replaceAll('-', '')}.${row['attempt']}`,
      eventId: String(row['event_id']),
      keyId: String(row['key_id']),
      teamId: row['team_id'] === null ? null : String(row['team_id']),
      model: String(row['model']),
      provenance: String(row['provenance']),
      cost: pico(String(row['cost_usd'])),
      charge: pico(String(row['charge_usd'])),
      hold: pico(String(row['hold_usd'])),
      stream: `${row['emitter_id']}/${row['lane']}`,
      seq: BigInt(String(row['emitter_seq'])),
    }));
  }

  /** Runs one statement. @returns its rows */
  async query(sql: string): Promise<readonly Record<string, string | number | null>[]> {
    const settings =
      'SETTINGS output_format_json_quote_decimals = 1, output_format_json_quote_64bit_integers = 1';
    const body = `${sql} ${settings} FORMAT JSONEachRow`;
    const response = await fetch(this.url, { method: 'POST', body });
    const text = await response.text();
    if (!response.ok) throw new Error(`ClickHouse: ${text.slice(0, 300)}`);
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, string | number | null>);
  }
}
