import type { Attempt, ControlFacts, LedgerRow, OracleConfig, Verdict } from './facts.js';
import { distance, picoPerToken } from './money.js';
import type { LedgerState } from './rollup.js';

/** What one judgement is made from. */
export interface Evidence {
  readonly attempts: ReadonlyMap<string, Attempt>;
  readonly withoutId: number;
  readonly rows: readonly LedgerRow[];
  readonly control: ControlFacts;
  /** Instants since the last verdict at which an account was above its limit. */
  readonly overspentSamples: number;
  readonly state: LedgerState;
  readonly sinceByte: number;
}

const MOST_EXAMPLES = 5;

/** Compares the simulator's log, the ledger and the accounts; prices bills by its own arithmetic. */
export function judge(models: OracleConfig['models'], evidence: Evidence): Verdict {
  const { attempts, rows, control } = evidence;
  const examples: string[] = [];
  const byAttempt = new Map<string, LedgerRow[]>();
  for (const row of rows) {
    const known = byAttempt.get(row.attemptId);
    if (known === undefined) byAttempt.set(row.attemptId, [row]);
    else known.push(row);
  }
  const own = [...attempts.values()].filter(({ atByte }) => atByte >= evidence.sinceByte);
  const lost = [...attempts.keys()].filter((id) => !byAttempt.has(id));
  examples.push(...lost.map((id) => `no row for ${id}`));
  const imbalance = imbalanceOf(rows, control, examples);
  const waiting = waitingFor(evidence, lost.length, imbalance);
  const overspent = control.accounts.filter(({ settled, limit }) => settled > limit);
  examples.push(...overspent.map(({ subject }) => `${subject} is above its limit`));
  return {
    quiet: waiting.length === 0,
    waiting,
    attempts: own.length,
    rows: rows.length,
    lost: lost.length + evidence.withoutId,
    doubled: doublesOf(evidence, byAttempt, examples),
    imbalancePusd: String(imbalance),
    estimated: own.filter(({ id }) => byAttempt.get(id)?.[0]?.provenance !== 'measured').length,
    overspent: overspent.length + evidence.overspentSamples,
    sequence: sequenceFaults(rows, control, examples),
    misrated: misratedRows(models, rows, attempts, examples),
    rollup: evidence.state.rollupDifferences,
    deadLetters: control.deadLetters,
    examples: examples.slice(0, MOST_EXAMPLES),
  };
}

function waitingFor(evidence: Evidence, lost: number, imbalance: bigint): string[] {
  const { control, state } = evidence;
  const behind = [...control.watermarks.values()].filter(
    ({ contiguous, high }) => contiguous !== high,
  ).length;
  const facts: readonly (readonly [number, string])[] = [
    [lost, 'attempts without a row'],
    [control.openHolds, 'open holds'],
    [control.openGaps, 'open gaps'],
    [behind, 'streams with holes'],
    [control.unsentOutbox, 'records in outboxes'],
    [control.parkedBatches, 'parked batches'],
    [control.preparedPlans, 'prepared plans'],
    [state.unsealedRows, 'rows without a seal'],
    [state.rollupDifferences, 'rollup cells off'],
    [imbalance === 0n ? 0 : 1, 'imbalance'],
  ];
  return facts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
}

/** Rows beyond one per attempt or per event, and attempts that were sent twice. */
function doublesOf(
  { attempts, rows }: Evidence,
  byAttempt: ReadonlyMap<string, readonly LedgerRow[]>,
  examples: string[],
): number {
  const repeated = [...byAttempt].filter(([, found]) => found.length > 1);
  examples.push(...repeated.map(([id, found]) => `${found.length} rows for ${id}`));
  const sentTwice = [...attempts.values()].filter(({ received }) => received > 1);
  examples.push(...sentTwice.map(({ id }) => `${id} was sent twice`));
  const events = new Set(rows.map(({ eventId }) => eventId)).size;
  return Math.max(rows.length - byAttempt.size, rows.length - events) + sentTwice.length;
}

/** Sum of the distances between what the ledger charges each subject and what the accounts say. */
function imbalanceOf(
  rows: readonly LedgerRow[],
  control: ControlFacts,
  examples: string[],
): bigint {
  const charged = new Map<string, bigint>();
  const add = (subject: string, charge: bigint): void =>
    void charged.set(subject, (charged.get(subject) ?? 0n) + charge);
  for (const { keyId, teamId, charge } of rows) {
    add(`key/${keyId}`, charge);
    if (teamId !== null) add(`team/${teamId}`, charge);
  }
  let imbalance = 0n;
  const compare = (what: string, subject: string, settled: bigint): void => {
    const off = distance(settled, charged.get(subject) ?? 0n);
    if (off !== 0n) examples.push(`${what} of ${subject} is off by ${off} pUSD`);
    imbalance += off;
  };
  for (const { subject, settled, held } of control.accounts) {
    compare('the account', subject, settled);
    imbalance += held;
  }
  for (const [subject, charge] of charged) {
    if (charge !== 0n) compare('the spend', subject, control.spend.get(subject) ?? 0n);
  }
  return imbalance;
}

/** Sequences that are there twice, or neither there nor declared lost, below the watermark. */
function sequenceFaults(
  rows: readonly LedgerRow[],
  control: ControlFacts,
  examples: string[],
): number {
  const seen = new Map<string, Set<bigint>>();
  let faults = 0;
  for (const { stream, seq } of rows) {
    const seqs = seen.get(stream) ?? new Set();
    seen.set(stream, seqs);
    if (seqs.has(seq)) {
      faults += 1;
      examples.push(`sequence ${seq} of ${stream} is there twice`);
    }
    seqs.add(seq);
  }
  for (const [stream, seqs] of seen) {
    const mark = control.watermarks.get(stream);
    const missing = (mark?.contiguous ?? 0n) - BigInt(seqs.size);
    const excused = control.lostSeqs.get(stream) ?? 0n;
    if (mark !== undefined && missing <= excused) continue;
    faults += 1;
    examples.push(`${missing} sequences of ${stream} are missing`);
  }
  return faults;
}

function misratedRows(
  models: OracleConfig['models'],
  rows: readonly LedgerRow[],
  attempts: ReadonlyMap<string, Attempt>,
  examples: string[],
): number {
  const wrong = rows.filter((row) => {
    const bill = attempts.get(row.attemptId)?.bill ?? null;
    if (row.provenance === 'zero_not_sent') {
      return row.cost !== 0n || attempts.has(row.attemptId);
    }
    if (row.provenance !== 'measured') return row.cost > row.hold || row.charge > row.hold;
    const price = models[row.model];
    if (bill === null || price === undefined) return true;
    const due =
      BigInt(bill.input) * picoPerToken(price.input) +
      BigInt(bill.output) * picoPerToken(price.output);
    return due !== row.cost;
  });
  examples.push(...wrong.map((row) => `${row.provenance} row of ${row.attemptId} is misrated`));
  return wrong.length;
}
