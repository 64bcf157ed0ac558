import type { Ledger } from './ledger.js';

/** What the ledger says of its own completeness. */
export interface LedgerState {
  /** Rollup cells that differ from their recomputation from rows. */
  readonly rollupDifferences: number;
  /** Rows whose batch has no seal. */
  readonly unsealedRows: number;
}

const CELL = 'hour, org_id, team_id, key_id, user_id, provider, model, batch_id';

/** Compares each rollup cell with the rows it stands for, and looks for rows that nobody may count. */
export async function ledgerState(ledger: Ledger, database: string): Promise<LedgerState> {
  const [found] = await ledger.query(
    `SELECT
       (SELECT count() FROM (
         SELECT ${CELL} FROM (
           SELECT ${CELL}, toInt64(attempts) AS n, toInt64(requests) AS r, toInt64(tokens_in) AS i,
             toInt64(tokens_out) AS o, cost_usd AS cost, charge_usd AS charge
           FROM ${database}.rollup_hour FINAL
           UNION ALL
           SELECT toDateTime(toStartOfHour(occurred_at), 'UTC') AS hour, org_id, team_id, key_id,
             user_id, provider, model, batch_id, -1 AS n, -toInt64(is_final) AS r,
             -toInt64(tokens_in) AS i, -toInt64(tokens_out) AS o, -cost_usd AS cost,
             -charge_usd AS charge
           FROM ${database}.raw_usage_v1)
         GROUP BY ${CELL}
         HAVING sum(n) != 0 OR sum(r) != 0 OR sum(i) != 0 OR sum(o) != 0 OR sum(cost) != 0
           OR sum(charge) != 0)) AS differences,
       (SELECT count() FROM ${database}.raw_usage_v1
         WHERE batch_id NOT IN (SELECT batch_id FROM ${database}.batch_seal)) AS unsealed`,
  );
  return {
    rollupDifferences: Number(found?.['differences']),
    unsealedRows: Number(found?.['unsealed']),
  };
}
