import { flag, option, path, type Command, type CommandInput, type FollowUp } from '../command.js';
import { EXIT, Failure } from '../failure.js';
import {
  column,
  numeric,
  renderCard,
  renderTable,
  rowOf,
  rowsOf,
  show as text,
  type Row,
} from '../table.js';

const RANGE = {
  from: option('TIME', 'first moment, RFC 3339 with a zone; as far back as it goes when left out'),
  to: option('TIME', 'first moment no longer rebuilt; until now when left out'),
  'no-wait': flag('return at once; "rebuild show" tells how it goes'),
};

const DIFFERENCE_COLUMNS = [
  column('subject'),
  column('outcome'),
  figure('stored', 'rows'),
  figure('rebuilt', 'rows'),
  figure('stored', 'charge_usd'),
  figure('rebuilt', 'charge_usd'),
];

function figure(account: 'stored' | 'rebuilt', member: string) {
  return {
    ...numeric(account, `${account} ${member.replaceAll('_', ' ')}`),
    value: (row: Row) => text(rowOf(row[account])[member]),
  };
}

/** Looks at a rebuild until it is over. */
function follow(answer: unknown, { flags }: CommandInput): FollowUp | null {
  const { id, state, done, total, differing } = rowOf(answer);
  if (state !== 'running' || flags.has('no-wait')) return null;
  return {
    request: { method: 'GET', path: path`/api/rebuilds/${text(id)}` },
    progress: `${text(done)} of ${text(total)}, ${text(differing)} differ`,
  };
}

/** @throws Failure 1 for a rebuild that failed */
function select(answer: unknown): unknown {
  const { state, error } = rowOf(answer);
  if (state === 'failed') throw new Failure(EXIT.refused, `the rebuild failed: ${text(error)}`);
  return answer;
}

function render(answer: unknown): string {
  const { differences, error: _error, ...rest } = rowOf(answer);
  const table = renderTable(rowsOf(differences), DIFFERENCE_COLUMNS, 'Nothing differs.');
  return `${renderCard(rest)}\n${table}`;
}

function body(kind: 'rollups' | 'ledger', { values }: CommandInput, apply: boolean): string {
  return JSON.stringify({ kind, from: values['from'], to: values['to'], apply });
}

const rollups: Command = {
  name: 'rebuild rollups',
  summary: 'Make the hourly sums anew from the ledger rows and put right what differs',
  positionals: [],
  options: { ...RANGE, compare: flag('only compare, change nothing') },
  example: 'tollgate rebuild rollups --from 2026-11-01T00:00:00Z',
  request: (input) => ({
    method: 'POST',
    path: '/api/rebuilds',
    body: body('rollups', input, !input.flags.has('compare')),
  }),
  follow,
  select,
  render,
};

const ledger: Command = {
  name: 'rebuild ledger',
  summary: 'Make ledger rows anew from the event log and compare; --apply puts right what differs',
  positionals: [],
  options: { ...RANGE, apply: flag('write the rows of batches that differ anew') },
  example: 'tollgate rebuild ledger --apply',
  request: (input) => ({
    method: 'POST',
    path: '/api/rebuilds',
    body: body('ledger', input, input.flags.has('apply')),
  }),
  follow,
  select,
  render,
};

const show: Command = {
  name: 'rebuild show',
  summary: 'Show how far a rebuild is and what it found',
  positionals: ['id'],
  options: {},
  example: 'tollgate rebuild show 0c1f9a52-8a7e-4a53-9a43-0d9a52f8ee0b',
  request: ({ positionals }) => ({
    method: 'GET',
    path: path`/api/rebuilds/${positionals['id'] ?? ''}`,
  }),
  render,
};

const list: Command = {
  name: 'rebuild list',
  summary: 'List the latest rebuilds',
  positionals: [],
  options: {},
  example: 'tollgate rebuild list',
  request: () => ({ method: 'GET', path: '/api/rebuilds' }),
  render: (answer) =>
    renderTable(
      rowsOf(rowOf(answer)['data']),
      [
        ...['id', 'kind', 'state', 'from', 'to'].map((name) => column(name)),
        ...['done', 'total', 'differing', 'repaired'].map((name) => numeric(name)),
      ],
      'There was no rebuild.',
    ),
};

/** Commands that make figures anew. */
export const REBUILD_COMMANDS: readonly Command[] = [rollups, ledger, show, list];
