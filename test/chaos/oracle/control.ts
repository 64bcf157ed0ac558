import { Client } from 'pg';

import type { Account, ControlFacts } from './facts.js';
import { pico } from './money.js';

type Row = Readonly<Record<string, string>>;

/** Reads PostgreSQL as its superuser, by plain SQL, in one snapshot. */
export class Control {
  private client: Client | undefined;
  private url = '';

  /** @throws Error of the connection or of a statement; the next call connects anew */
  async read(url: string): Promise<ControlFacts> {
    const client = await this.connected(url);
    try {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      const facts = await readFacts(client);
      await client.query('COMMIT');
      return facts;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** How many accounts are above their limit at this instant, with what is held. */
  async overspent(url: string): Promise<number> {
    const client = await this.connected(url);
    try {
      const { rows } = await client.query<Row>(
        `SELECT count(*)::text AS n FROM budget.budget_account
         WHERE NOT deleted AND settled_usd + held_usd + leased_usd > limit_usd`,
      );
      return Number(rows[0]!['n']);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    await client?.end().catch(() => undefined);
  }

  private async connected(url: string): Promise<Client> {
    if (this.client !== undefined && this.url === url) return this.client;
    await this.close();
    const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
    client.on('error', () => (this.client = undefined));
    await client.connect();
    this.client = client;
    this.url = url;
    return client;
  }
}

async function readFacts(client: Client): Promise<ControlFacts> {
  const all = async (sql: string): Promise<readonly Row[]> => (await client.query<Row>(sql)).rows;
  const count = async (from: string): Promise<number> =>
    Number((await all(`SELECT count(*)::text AS n FROM ${from}`))[0]!['n']);
  const accounts = await all(
    `SELECT scope || '/' || subject_id AS subject, min(limit_usd)::text AS limit,
       sum(settled_usd)::text AS settled, sum(held_usd + leased_usd)::text AS held
     FROM budget.budget_account GROUP BY budget_id, scope, subject_id`,
  );
  const spend = await all(
    `SELECT scope || '/' || subject_id AS subject, settled_usd::text AS usd
     FROM budget.subject_spend`,
  );
  const watermarks = await all(
    `SELECT emitter_id || '/' || lane AS stream, contiguous_seq::text AS contiguous,
       high_seq::text AS high FROM metering.emitter_watermark`,
  );
  const lost = await all(
    `SELECT emitter_id || '/' || lane AS stream, sum(to_seq - from_seq + 1)::text AS n
     FROM metering.emitter_gap WHERE lost GROUP BY 1`,
  );
  const unsent = ['auth', 'metering', 'budget'].map(
    (schema) => `SELECT next_seq - 1 - sent_seq AS n FROM ${schema}.outbox_lane`,
  );
  const [outbox] = await all(`SELECT coalesce(sum(n), 0)::text AS n FROM
    (${unsent.join(' UNION ALL ')}) AS lanes`);
  return {
    accounts: accounts.map(toAccount),
    spend: new Map(spend.map((row) => [row['subject']!, pico(row['usd']!)])),
    watermarks: new Map(
      watermarks.map((row) => [
        row['stream']!,
        { contiguous: BigInt(row['contiguous']!), high: BigInt(row['high']!) },
      ]),
    ),
    lostSeqs: new Map(lost.map((row) => [row['stream']!, BigInt(row['n']!)])),
    openHolds: await count(`budget.hold WHERE state = 'open'`),
    openGaps: await count('metering.emitter_gap WHERE resolved_at IS NULL'),
    unsentOutbox: Number(outbox!['n']),
    parkedBatches: await count('budget.parked_batch'),
    preparedPlans: await count(`metering.sink_plan WHERE state = 'PREPARED'`),
    deadLetters: await count('metering.dead_letter'),
  };
}

function toAccount(row: Row): Account {
  return {
    subject: row['subject']!,
    limit: pico(row['limit']!),
    settled: pico(row['settled']!),
    held: pico(row['held']!),
  };
}
