/**
 * An independent judge, a program of its own that shares no code with the system: it reads the
 * simulator's log, ClickHouse by HTTP and PostgreSQL by SQL. Its argument is a file with an
 * `OracleConfig`; each line of standard input is a `Question`, each line of standard output a
 * `Verdict` or `{"error": ...}` while a store does not answer.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';

import { Control } from './control.js';
import type { OracleConfig, Question, Verdict } from './facts.js';
import { judge } from './judge.js';
import { Ledger } from './ledger.js';
import { ledgerState } from './rollup.js';
import { SimulatorLog } from './simulator-log.js';

/** Pause between two looks at the accounts, milliseconds. */
const SAMPLE_MS = 100;

const config = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as OracleConfig;
const log = new SimulatorLog(config.simulatorLog);
const ledger = new Ledger(config.clickhouseUrl, config.database);
const control = new Control();
const sampler = new Control();
let postgresUrl = '';
let overspentSamples = 0;

async function answer(question: Question): Promise<Verdict> {
  postgresUrl = question.postgresUrl;
  // The ledger after the accounts: a charge that lies in between shows as waiting, never as balance.
  const facts = await control.read(postgresUrl);
  const rows = await ledger.rows();
  const state = await ledgerState(ledger, config.database);
  const attempts = log.read();
  const verdict = judge(config.models, {
    attempts,
    withoutId: log.withoutId,
    rows,
    control: facts,
    overspentSamples,
    state,
    sinceByte: question.sinceByte,
  });
  // Figures of different instants are one picture only when nothing moved between them.
  const isStill = !verdict.quiet || isDeepStrictEqual(await control.read(postgresUrl), facts);
  if (isStill) return verdict;
  return { ...verdict, quiet: false, waiting: ['changes while it was looked at'] };
}

async function sample(): Promise<void> {
  try {
    if (postgresUrl !== '') overspentSamples += await sampler.overspent(postgresUrl);
  } catch {
    // The store is away, as it is meant to be now and then.
  }
  setTimeout(() => void sample(), SAMPLE_MS);
}

void sample();
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const verdict = await answer(JSON.parse(line) as Question);
    process.stdout.write(`${JSON.stringify(verdict)}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: String(error) })}\n`);
  }
}
process.exit(0);
