import { SystemClock, toRfc3339 } from '#libs/kernel';

import { option, type Command, type CommandInput } from '../command.js';
import { usageFailure } from '../failure.js';
import { column, numeric, renderTable, rowOf, rowsOf, type Column, type Row } from '../table.js';

const UNITS_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

const FILTERS = {
  since: option('24h', 'how far back: minutes, hours or days (30m, 24h, 7d)'),
  start: option('TIME', 'first moment, RFC 3339; the last 24 hours when left out'),
  end: option('TIME', 'first moment no longer counted, RFC 3339'),
  key: option('KEY_ID', 'only this key'),
  team: option('TEAM_ID', 'only this team'),
  model: option('MODEL', 'only this model'),
  provider: option('NAME', 'only this provider'),
};

const MEASURES = [
  numeric('requests'),
  numeric('tokens_in'),
  numeric('tokens_out'),
  numeric('cost_usd'),
  numeric('charge_usd'),
  numeric('estimated_requests', 'estimated'),
];

/** The query members that both commands share. @param nowMs wall time that `--since` counts from */
export function filtersOf(
  { values }: CommandInput,
  nowMs: number,
): Readonly<Record<string, string | undefined>> {
  const { since, start, end, key, team, model, provider } = values;
  if (since !== undefined && start !== undefined) {
    throw usageFailure('--since and --start say the same thing: give one of them');
  }
  const from = since === undefined ? start : toRfc3339(nowMs - durationMs(since));
  return { start: from, end, key_id: key, team_id: team, model, provider };
}

function durationMs(text: string): number {
  const [, count = '', unit = ''] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  const unitMs = UNITS_MS[unit];
  if (unitMs !== undefined) return Number(count) * unitMs;
  throw usageFailure(`--since "${text}" is not a duration, for example 30m, 24h or 7d`);
}

/** The columns that a row of usage has: its bucket, what it is grouped by, its measures. */
function usageColumns(rows: readonly Row[]): readonly Column[] {
  const members = Object.keys(rows[0] ?? {});
  const grouping = ['bucket_start', 'key', 'key_id', 'team', 'team_id', 'user', 'user_id'];
  const shown = [...grouping, 'model', 'provider'].filter((name) => members.includes(name));
  const isBucketed = rows.some((row) => row['bucket_start'] !== null);
  const groups = shown.filter((name) => name !== 'bucket_start' || isBucketed);
  return [...groups.map((name) => column(name)), ...MEASURES];
}

/** Keys as `keys list` shows them, so that a row can be found there. */
function withListedKey(row: Row): Row {
  const { key } = row;
  return typeof key === 'string' ? { ...row, key: key.replaceAll('-', '') } : row;
}

function completeness(answer: Row): string {
  const until = answer['complete_through'];
  return typeof until === 'string' ? `complete through ${until}\n` : '';
}

const query: Command = {
  name: 'usage query',
  summary: 'Sum requests, tokens and dollars over a time',
  positionals: [],
  options: {
    ...FILTERS,
    by: option('A,B', 'up to three of key, team, user, model, provider'),
    bucket: option('UNIT', 'hour, day or none'),
  },
  example: 'tollgate usage query --since 7d --by team,model --bucket day',
  request: (input) => ({
    method: 'GET',
    path: '/v1/usage',
    query: {
      ...filtersOf(input, new SystemClock().nowMs()),
      group_by: input.values['by'],
      bucket: input.values['bucket'],
    },
  }),
  render: (answer) => {
    const body = rowOf(answer);
    const rows = rowsOf(body['data']).map(withListedKey);
    const table = renderTable(rows, usageColumns(rows), 'Nothing was used in this time.');
    const total = renderTable([rowOf(body['total'])], MEASURES, '');
    return `${table}${rows.length > 1 ? `\ntotal\n${total}` : ''}${completeness(body)}`;
  },
};

const requests: Command = {
  name: 'usage requests',
  summary: 'List single requests, newest first',
  positionals: [],
  options: {
    ...FILTERS,
    limit: option('N', 'most rows, 100 when left out'),
    page: option('PAGE', 'the page that a list before named'),
  },
  example: 'tollgate usage requests --limit 20',
  request: (input) => ({
    method: 'GET',
    path: '/v1/usage/requests',
    query: {
      ...filtersOf(input, new SystemClock().nowMs()),
      limit: input.values['limit'],
      page: input.values['page'],
    },
  }),
  render: (answer) => {
    const body = rowOf(answer);
    const columns = [
      ...['time', 'request_id', 'key_id', 'model', 'status', 'provenance'].map((name) =>
        column(name),
      ),
      ...['tokens_in', 'tokens_out', 'charge_usd', 'latency_ms'].map((name) => numeric(name)),
    ];
    const next = body['next_page'];
    const more = typeof next === 'string' ? `more: --page ${next}\n` : '';
    const empty = 'There was no request in this time.';
    return renderTable(rowsOf(body['data']), columns, empty) + more + completeness(body);
  },
};

/** Commands that read what was used. */
export const USAGE_COMMANDS: readonly Command[] = [query, requests];
