/** G10: questions answered as the product answers them beside the same questions asked of the rows. */
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import { startTestClickHouse } from '#libs/testing';
import {
  ClickHouseLedgerUpkeep,
  ClickHouseUsageStore,
  mergeStateQuery,
  sumsQuery,
  toMergeState,
  type MergeStateRecord,
} from '#libs/usage/adapters';
import type { MergePlace, UsageQuestion } from '#libs/usage/core';

import { cpuTimeUs } from '../cpu-time.js';
import { estimate } from '../statistics.js';
import type { PartOptions, PartResult, PipelineFigure } from './part.js';

/** Attempts behind one cell of the rollup. */
const EVENTS_PER_CELL = 23;
const CELLS = 600_000;
const CELLS_PER_BATCH = 200;
const HOURS = 720;
const FLOOR = 10;
const START_MS = Date.UTC(2026, 8, 1);
const END_MS = START_MS + HOURS * 3_600_000;

const ALL: UsageQuestion = {
  orgId: 'default',
  startMs: START_MS,
  endMs: END_MS,
  keyIds: [],
  teamIds: [],
  userIds: [],
  models: [],
  providers: [],
  bucket: 'none',
  groupBy: [],
  maxRows: 10_000,
};
const TOP = 'ORDER BY sum_charge_usd DESC LIMIT 100';

/** What is asked; the rows are grouped by `rows`, and both answers are ordered and cut in the same way. */
const QUESTIONS = {
  'team by day': {
    asked: { ...ALL, bucket: 'day', groupBy: ['team'] },
    rows: 'toStartOfDay(at), team_id',
    top: '',
  },
  'top 100 keys': { asked: { ...ALL, groupBy: ['key'] }, rows: 'key_id', top: TOP },
  'by model': { asked: { ...ALL, groupBy: ['model'] }, rows: 'model', top: '' },
} as const satisfies Record<string, { asked: UsageQuestion; rows: string; top: string }>;

const FIGURES =
  'count() AS requests, sum(tokens_in), sum(tokens_out), sum(cost_usd), sum(charge_usd) AS' +
  " sum_charge_usd, countIf(provenance != 'measured')";
const ROWS =
  'SELECT occurred_at AS at, * FROM raw_usage_v1 WHERE batch_id IN (SELECT batch_id FROM batch_seal)';

/** One question asked once. */
interface Turn {
  readonly question: string;
  readonly from: string;
  readonly round: number;
  /** CPU time of the store for one answer, milliseconds. */
  readonly cpuMs: number;
}

/** Where a question is put. */
interface Target {
  readonly url: string;
  readonly pid: number;
}

/** Answers of a turn: CPU time is counted in hundredths of a second. */
const ANSWERS = 5;

/** Fills the ledger, asks each question before and after its hours are merged, in every round. */
export async function measureQueries({ rounds, random, say }: PartOptions): Promise<PartResult> {
  const server = await startTestClickHouse({ isOwn: true });
  const engine = new ClickHouseEngine({ target: { kind: 'server', url: server.url } });
  const store = new ClickHouseUsageStore(engine);
  const upkeep = new ClickHouseLedgerUpkeep(engine);
  const target = { url: server.url, pid: server.process!.pid };
  const times: Turn[] = [];
  try {
    await store.migrate();
    for (const sql of fill()) await ask(server.url, sql);
    say(`${EVENTS_PER_CELL * CELLS} rows, ${CELLS} cells`);
    times.push(...(await asked(target, 'rows', rounds, fromRows)));
    times.push(...(await asked(target, 'cells of batches', rounds, asProduct)));
    await merge(upkeep, say);
    times.push(...(await asked(target, 'merged hours', rounds, asProduct)));
  } finally {
    await upkeep.close();
    await store.close();
    await server.stop();
  }
  return { figures: figuresOf(times, random), runs: times };
}

function figuresOf(times: readonly Turn[], random: () => number): readonly PipelineFigure[] {
  const of = (question: string, from: string): number[] =>
    times.filter((one) => one.question === question && one.from === from).map(({ cpuMs }) => cpuMs);
  return ['merged hours', 'cells of batches'].flatMap((from) =>
    Object.keys(QUESTIONS).map((question): PipelineFigure => {
      const rollup = of(question, from);
      const ratios = of(question, 'rows').map((cpuMs, round) => cpuMs / rollup[round]!);
      return {
        id: 'G10',
        text: `CPU from rows / from ${from}, ${question}`,
        value: estimate(ratios, random),
        floor: from === 'merged hours' ? { limit: FLOOR, isUpper: false } : null,
      };
    }),
  );
}

type Question = (typeof QUESTIONS)[keyof typeof QUESTIONS];

async function fromRows(url: string, { rows, top }: Question): Promise<void> {
  await ask(url, `SELECT ${rows}, ${FIGURES} FROM (${ROWS}) GROUP BY ${rows} ${top} FORMAT Null`);
}

/** Both statements of the product. */
async function asProduct(url: string, { asked: question, top }: Question): Promise<void> {
  const state = mergeStateQuery(question);
  const answer = await ask(url, `${state.sql} FORMAT JSONEachRow`, state.params);
  const sums = sumsQuery(question, toMergeState(JSON.parse(answer) as MergeStateRecord));
  await ask(url, `SELECT * FROM (${sums.sql}) ${top} FORMAT Null`, sums.params);
}

async function asked(
  { url, pid }: Target,
  from: string,
  rounds: number,
  answer: (url: string, question: Question) => Promise<void>,
): Promise<readonly Turn[]> {
  const turns: Turn[] = [];
  // One round apart warms the engine.
  for (let round = 0; round <= rounds; round += 1) {
    for (const [name, question] of Object.entries(QUESTIONS)) {
      const beforeUs = cpuTimeUs([pid]);
      for (let nth = 0; nth < ANSWERS; nth += 1) await answer(url, question);
      const cpuMs = (cpuTimeUs([pid]) - beforeUs) / ANSWERS / 1_000;
      if (round > 0) turns.push({ question: name, from, round, cpuMs });
    }
  }
  return turns;
}

async function merge(upkeep: ClickHouseLedgerUpkeep, say: PartOptions['say']): Promise<void> {
  let after: MergePlace | null = null;
  for (let run = 1; ; run += 1) {
    const done = await upkeep.mergeClosed({ beforeMs: END_MS, after, run: `bench-${run}` });
    if (done.next === null) return;
    say(`${done.batches} batches merged, ${done.refused} refused`);
    after = done.next;
  }
}

async function ask(
  url: string,
  sql: string,
  params: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const query = new URLSearchParams({
    database: 'tollgate',
    wait_end_of_query: '1',
    session_timezone: 'UTC',
    // As the product asks: the state that it reads has text where a number may be large.
    output_format_json_quote_64bit_integers: '1',
  });
  for (const [name, value] of Object.entries(params)) query.set(`param_${name}`, textOf(value));
  const response = await fetch(`${url}/?${query.toString()}`, { method: 'POST', body: sql });
  const text = await response.text();
  if (!response.ok) throw new Error(text.slice(0, 300));
  return text;
}

/** A parameter as the HTTP interface takes it. */
function textOf(value: unknown): string {
  return Array.isArray(value) ? `[${value.map((one) => `'${one}'`).join(',')}]` : String(value);
}

/** The n-th attempt is the same in every run: its figures are hashes of n. */
function fill(): readonly string[] {
  const cell = `intDiv(number, ${EVENTS_PER_CELL})`;
  const rows = EVENTS_PER_CELL * CELLS;
  const start = "toDateTime('2026-09-01 00:00:00', 'UTC')";
  return [
    `INSERT INTO raw_usage_v1 (event_id, batch_id, request_id, attempt, is_final, org_id, key_id,
       team_id, user_id, provider, model_requested, model, operation, status, provenance,
       usage_source, source, usage, tokens_in, tokens_out, cost_usd, charge_usd, occurred_at,
       admitted_at, recorded_at, latency_ms, emitter_id, lane, emitter_seq)
     SELECT toUUID(concat(substring(h, 1, 8), '-', substring(h, 9, 4), '-', substring(h, 13, 4), '-',
              substring(h, 17, 4), '-', substring(h, 21, 12))) AS event_id,
       toString(intDiv(cell, ${CELLS_PER_BATCH})), event_id, 1, true, 'default',
       concat('key-', toString(cityHash64(cell) % 5000)), concat('team-', toString(cityHash64(cell) % 50)),
       concat('user-', toString(cityHash64(cell) % 500)), 'openai', 'm',
       concat('model-', toString(cityHash64(cell, 1) % 12)), 'chat', 'ok', 'measured',
       'provider_final', 'proxy', map('input_text', 100, 'output_text', 20), 100 + number % 900,
       20 + number % 300, toDecimal64(0.001, 12), toDecimal64(0.001, 12), at, at, at, 500, 'e', 0, number
     FROM (SELECT number, ${cell} AS cell, lower(hex(MD5(toString(number)))) AS h,
             ${start} + INTERVAL (cell % ${HOURS}) HOUR + INTERVAL (number % 3600) SECOND AS at
           FROM numbers(${rows}))
     SETTINGS max_partitions_per_insert_block = 0, insert_deduplicate = 0`,
    `INSERT INTO rollup_hour
     SELECT toStartOfHour(occurred_at), org_id, team_id, key_id, user_id, provider, model, batch_id,
       toYYYYMM(max(recorded_at)), count(), count(), 0, sum(tokens_in), sum(tokens_out),
       map('input_text', sum(tokens_in)), sum(cost_usd), sum(charge_usd), 0, 0
     FROM raw_usage_v1 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 SETTINGS insert_deduplicate = 0`,
    `INSERT INTO batch_seal
     SELECT batch_id, 'request.completed', 0, toYYYYMM(max(recorded_at)), count(), sum(cost_usd),
       sum(charge_usd), toStartOfHour(min(occurred_at)), toStartOfHour(max(occurred_at)), now64(3)
     FROM raw_usage_v1 GROUP BY batch_id SETTINGS insert_deduplicate = 0`,
    'OPTIMIZE TABLE raw_usage_v1 FINAL',
    'OPTIMIZE TABLE rollup_hour FINAL',
  ];
}
