/** G10: questions answered from the rollup beside the same questions answered from the rows. */
import { SystemClock } from '#libs/kernel';
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import { startTestClickHouse } from '#libs/testing';
import { ClickHouseUsageStore } from '#libs/usage/adapters';

import { estimate } from '../statistics.js';
import type { PartOptions, PartResult, PipelineFigure } from './part.js';

/** Attempts behind one cell of the rollup. */
const EVENTS_PER_CELL = 23;
const CELLS = 200_000;
const CELLS_PER_BATCH = 200;
const HOURS = 720;
const FLOOR = 10;

const QUESTIONS = {
  'team by day': 'GROUP BY team_id, toStartOfDay(at)',
  'top 100 keys': 'GROUP BY key_id ORDER BY sum(charge_usd) DESC LIMIT 100',
  'by model': 'GROUP BY model',
} as const;

/** Fills both tables with the same attempts and asks each question in every round. */
export async function measureQueries({ rounds, random, say }: PartOptions): Promise<PartResult> {
  const clock = new SystemClock();
  const server = await startTestClickHouse({ isOwn: true });
  const store = new ClickHouseUsageStore(
    new ClickHouseEngine({ target: { kind: 'server', url: server.url } }),
  );
  const ask = async (sql: string): Promise<void> => {
    const url = `${server.url}/?database=tollgate&wait_end_of_query=1`;
    const response = await fetch(url, { method: 'POST', body: sql });
    const text = await response.text();
    if (!response.ok) throw new Error(text.slice(0, 300));
  };
  const timed = async (sql: string): Promise<number> => {
    const begunMs = clock.monotonicMs();
    await ask(sql);
    return clock.monotonicMs() - begunMs;
  };
  const times: { question: string; from: string; round: number; ms: number }[] = [];
  try {
    await store.migrate();
    for (const sql of fill()) await ask(sql);
    say(`${EVENTS_PER_CELL * CELLS} rows, ${CELLS} cells`);
    for (let round = 0; round <= rounds; round += 1) {
      for (const [question, groups] of Object.entries(QUESTIONS)) {
        for (const [from, source] of Object.entries(SOURCES)) {
          const ms = await timed(`SELECT ${FIGURES} FROM (${source}) ${groups} FORMAT Null`);
          if (round > 0) times.push({ question, from, round, ms });
        }
      }
    }
  } finally {
    await store.close();
    await server.stop();
  }
  const of = (question: string, from: string): number[] =>
    times.filter((one) => one.question === question && one.from === from).map(({ ms }) => ms);
  const figures = Object.keys(QUESTIONS).map((question): PipelineFigure => {
    const rollup = of(question, 'rollup');
    const ratios = of(question, 'rows').map((ms, round) => ms / rollup[round]!);
    return {
      id: 'G10',
      text: `time from rows / from rollup, ${question}`,
      value: estimate(ratios, random),
      floor: { limit: FLOOR, isUpper: false },
    };
  });
  return { figures, runs: times };
}

const FIGURES = 'sum(requests), sum(tokens_in), sum(tokens_out), sum(cost_usd), sum(charge_usd)';
/** As the product reads them: cells of sealed batches, the newest revision of each. */
const SEALED = 'batch_id IN (SELECT batch_id FROM batch_seal)';
const SOURCES = {
  rows:
    'SELECT occurred_at AS at, team_id, key_id, model, charge_usd, cost_usd, tokens_in, tokens_out,' +
    ` toUInt64(is_final) AS requests FROM raw_usage_v1 WHERE ${SEALED}`,
  rollup:
    'SELECT hour AS at, team_id, key_id, model, charge_usd, cost_usd, tokens_in, tokens_out, requests' +
    ` FROM rollup_hour FINAL WHERE ${SEALED} AND is_deleted = 0`,
};

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
              substring(h, 17, 4), '-', substring(h, 21, 12))),
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
