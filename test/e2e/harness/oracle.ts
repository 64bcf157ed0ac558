/**
 * An independent judge: it reads the simulator's own log and the stores by SQL, prices the bills by
 * its own arithmetic, and shares no code with the system it judges.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { connectTo } from './event-log-probe.js';
import type { TestModel, Tollgate } from './tollgate.js';

const PROBE = join(import.meta.dirname, 'chdb-probe.child.js');
const PICO_DIGITS = 12;

/** What the simulator says of one attempt. */
export interface Bill {
  readonly attemptId: string;
  readonly model: string;
  /** Null while the attempt was not answered. */
  readonly billed: { readonly input: number; readonly output: number } | null;
}

/** One row of the ledger, as the store holds it. */
export interface LedgerRow {
  readonly attemptId: string;
  readonly keyId: string;
  readonly teamId: string | null;
  readonly model: string;
  readonly provenance: string;
  readonly costPicoUsd: bigint;
  readonly chargePicoUsd: bigint;
  readonly holdPicoUsd: bigint;
}

/** What PostgreSQL holds of budgets and events. */
export interface ControlState {
  /** Settled and held per budget subject `scope/id`. */
  readonly accounts: ReadonlyMap<string, { settledPicoUsd: bigint; heldPicoUsd: bigint }>;
  readonly openHolds: number;
  /** Charges of `request.completed` events in the log, each event id once, by key. */
  readonly eventLogChargesPicoUsd: ReadonlyMap<string, bigint>;
  /** Attempt ids of the `request.completed` events in the log. */
  readonly eventLogAttempts: ReadonlySet<string>;
}

/** Pico-dollars of a decimal dollar text. */
export function pico(usd: string): bigint {
  const [whole = '0', fraction = ''] = usd.replace('-', '').split('.');
  const digits = BigInt(whole + fraction.padEnd(PICO_DIGITS, '0').slice(0, PICO_DIGITS));
  return usd.startsWith('-') ? -digits : digits;
}

/** What a bill costs at the model's list price. */
export function costOf(model: TestModel, bill: { input: number; output: number }): bigint {
  const perInput = pico(model.inputUsdPerMillion) / 1_000_000n;
  const perOutput = pico(model.outputUsdPerMillion) / 1_000_000n;
  return BigInt(bill.input) * perInput + BigInt(bill.output) * perOutput;
}

/** Every attempt that reached the simulator, by attempt id; a repeated receipt is a failure. */
export function readBills(logFile: string): Map<string, Bill> {
  const bills = new Map<string, Bill>();
  for (const line of readFileSync(logFile, 'utf8').split('\n').filter(Boolean)) {
    const entry = JSON.parse(line) as Record<string, string | number | null>;
    const attemptId = entry['attempt_id'];
    if (typeof attemptId !== 'string') throw new Error('an attempt came without its id');
    const known = bills.get(attemptId);
    if (entry['line'] === 'received') {
      if (known !== undefined) throw new Error(`attempt ${attemptId} was sent twice`);
      bills.set(attemptId, { attemptId, model: String(entry['model']), billed: null });
    } else {
      if (known === undefined) throw new Error(`attempt ${attemptId} was billed unseen`);
      const billed = {
        input: Number(entry['billed_input']),
        output: Number(entry['billed_output']),
      };
      bills.set(attemptId, { ...known, billed });
    }
  }
  return bills;
}

/** Rows of the ledger; standalone must be stopped, because the directory has one owner at a time. */
export function readLedger(dataDir: string): LedgerRow[] {
  const sql = `SELECT request_id, attempt, key_id, team_id, model, provenance, cost_usd, charge_usd,
    hold_usd FROM tollgate.raw_usage_v1`;
  return probe(dataDir, sql).map((row) => ({
    attemptId: attemptIdOf(String(row['request_id']), Number(row['attempt'])),
    keyId: String(row['key_id']),
    teamId: row['team_id'] === null ? null : String(row['team_id']),
    model: String(row['model']),
    provenance: String(row['provenance']),
    costPicoUsd: pico(String(row['cost_usd'])),
    chargePicoUsd: pico(String(row['charge_usd'])),
    holdPicoUsd: pico(String(row['hold_usd'])),
  }));
}

function probe(dataDir: string, sql: string): Record<string, string | number | null>[] {
  const printed = execFileSync(process.execPath, [PROBE, join(dataDir, 'clickhouse'), sql], {
    maxBuffer: 256 * 1024 * 1024,
  }).toString();
  return printed
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, string | number | null>);
}

function attemptIdOf(requestId: string, attempt: number): string {
  return `req-${requestId.replaceAll('-', '')}.${attempt}`;
}

/** Accounts, holds and events by SQL while the database runs. */
export async function readControl(dataDir: string): Promise<ControlState> {
  const client = await connectTo(dataDir);
  try {
    const accounts = await client.query<Record<string, string>>(
      `SELECT scope, subject_id, sum(settled_usd)::text AS settled, sum(held_usd)::text AS held
       FROM budget.budget_account GROUP BY scope, subject_id`,
    );
    const holds = await client.query<{ open: string }>(
      `SELECT count(*)::text AS open FROM budget.hold WHERE state = 'open'`,
    );
    const events = await client.query<{ value: Buffer }>(
      `SELECT r.value FROM event_log.log_record r JOIN event_log.log_partition p USING (partition_id)
       WHERE p.topic = 'request.completed'`,
    );
    const bodies = events.rows.map((row) => row.value.toString());
    return {
      accounts: new Map(
        accounts.rows.map((row) => [
          `${row['scope']}/${row['subject_id']}`,
          { settledPicoUsd: pico(row['settled']!), heldPicoUsd: pico(row['held']!) },
        ]),
      ),
      openHolds: Number(holds.rows[0]?.open),
      eventLogChargesPicoUsd: chargesByKey(bodies),
      eventLogAttempts: new Set(bodies.map(attemptOf)),
    };
  } finally {
    await client.end();
  }
}

/** The attempt that an event of the log is about. */
export function attemptOf(body: string): string {
  const event = JSON.parse(body) as { readonly request_id: string; readonly attempt: number };
  return attemptIdOf(event.request_id, event.attempt);
}

/** Sums the charges of events, each event id once. */
function chargesByKey(bodies: readonly string[]): Map<string, bigint> {
  const seen = new Set<string>();
  const charges = new Map<string, bigint>();
  for (const body of bodies) {
    const event = JSON.parse(body) as Record<string, string>;
    if (seen.has(event['event_id']!)) continue;
    seen.add(event['event_id']!);
    const keyId = event['key_id']!;
    charges.set(keyId, (charges.get(keyId) ?? 0n) + BigInt(event['charge_pusd']!));
  }
  return charges;
}

/** Charges in the spool file by key; the proxy must be stopped, its file has one owner. */
export function readSpoolCharges(dataDir: string): Map<string, bigint> {
  const spool = new DatabaseSync(join(dataDir, 'spool', 'spool.db'), { readOnly: true });
  try {
    const rows = spool.prepare('SELECT body FROM spool').all() as { body: Uint8Array }[];
    const bodies = rows.map(({ body }) => dataOf(Buffer.from(body)));
    return chargesByKey(bodies.filter((body) => body.includes('"charge_pusd"')));
  } finally {
    spool.close();
  }
}

/** A spooled blob is a 32-bit little-endian length, headers of that length, and the event's data. */
function dataOf(blob: Buffer): string {
  return blob.subarray(4 + blob.readUInt32LE(0)).toString();
}

/** Sums per key of everything the system recorded, and of what the simulator billed. */
export async function sumsOf(
  tollgate: Tollgate,
  model: TestModel,
  keyIdHex: string,
): Promise<Record<string, bigint | number>> {
  const keyId = keyIdHex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  const control = await readControl(tollgate.dataDir);
  await tollgate.endStandalone('SIGTERM');
  const ledger = readLedger(tollgate.dataDir).filter((row) => row.keyId === keyId);
  const bills = readBills(tollgate.simulatorLog);
  const billed = ledger.map((row) => bills.get(row.attemptId)?.billed ?? null);
  const account = control.accounts.get(`key/${keyId}`);
  return {
    attempts: ledger.length,
    simulatorPicoUsd: billed.reduce((sum, bill) => sum + (bill ? costOf(model, bill) : 0n), 0n),
    spoolPicoUsd: readSpoolCharges(tollgate.dataDir).get(keyId) ?? 0n,
    eventLogPicoUsd: control.eventLogChargesPicoUsd.get(keyId) ?? 0n,
    clickhousePicoUsd: ledger.reduce((sum, row) => sum + row.chargePicoUsd, 0n),
    settledPicoUsd: account?.settledPicoUsd ?? -1n,
    heldPicoUsd: account?.heldPicoUsd ?? -1n,
    openHolds: control.openHolds,
  };
}
