import { option, path, type Command, type CommandInput } from '../command.js';
import { usageFailure } from '../failure.js';
import { column, numeric, renderCard, renderTable, rowOf, rowsOf, show as text } from '../table.js';

const COLUMNS = [
  column('id'),
  column('class'),
  column('state'),
  column('hold'),
  numeric('bytes'),
  column('parked_at'),
  column('error'),
];

/** The path of a letter. @throws Failure 2 when the id is not `<topic>/<partition>/<offset>` */
function pathOf({ positionals }: CommandInput): string {
  const parts = (positionals['id'] ?? '').split('/');
  const [topic = '', partition = '', offset = ''] = parts;
  if (parts.length !== 3 || !/^\d+$/.test(partition) || !/^\d+$/.test(offset)) {
    throw usageFailure('an id is <topic>/<partition>/<offset>, as "dead-letters list" shows it');
  }
  return path`/api/dead-letters/${topic}/${partition}/${offset}`;
}

const list: Command = {
  name: 'dead-letters list',
  summary: 'List records that could never be read',
  positionals: [],
  options: {
    state: option('STATE', 'parked, retried or discarded; all when left out'),
    topic: option('TOPIC', 'only this topic'),
    limit: option('N', 'most letters shown, 100 when left out, at most 1000'),
    cursor: option('CURSOR', 'goes on behind a page, its next_cursor'),
  },
  example: 'tollgate dead-letters list --state parked',
  request: ({ values }) => ({
    method: 'GET',
    path: '/api/dead-letters',
    query: {
      state: values['state'],
      topic: values['topic'],
      limit: values['limit'],
      cursor: values['cursor'],
    },
  }),
  render: (answer) => {
    const { data, next_cursor: next } = rowOf(answer);
    const table = renderTable(rowsOf(data), COLUMNS, 'There is no dead letter.');
    return typeof next === 'string' ? `${table}More: --cursor ${next}\n` : table;
  },
};

const show: Command = {
  name: 'dead-letters show',
  summary: 'Show one record that could never be read, as text and as hex digits',
  positionals: ['id'],
  options: {},
  example: 'tollgate dead-letters show request.completed/0/17',
  request: (input) => ({ method: 'GET', path: pathOf(input) }),
  render: (answer) => {
    const { payload_text: plain, payload_hex: hex, ...rest } = rowOf(answer);
    return `${renderCard(rest)}\npayload as text\n${printable(text(plain))}\n\npayload as hex\n${text(hex)}\n`;
  },
};

const retry: Command = {
  name: 'dead-letters retry',
  summary: 'Read a record with the code of today and book it',
  positionals: ['id'],
  options: {},
  example: 'tollgate dead-letters retry request.completed/0/17',
  request: (input) => ({ method: 'POST', path: `${pathOf(input)}/retry` }),
  render: (answer) => renderCard(rowOf(answer)),
};

/** Nothing a record holds may steer the terminal it is shown in. */
function printable(value: string): string {
  return value.replaceAll(/\p{Cc}/gu, (sign) =>
    sign === '\n' ? sign : `\\x${sign.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Commands over records that could never be read. */
export const DEAD_LETTER_COMMANDS: readonly Command[] = [list, show, retry];
