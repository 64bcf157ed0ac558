import { option, path, type Command, type CommandInput } from '../command.js';
import { usageFailure } from '../failure.js';
import { column, numeric, renderCard, renderTable, rowOf, rowsOf, show as text } from '../table.js';

const COLUMNS = [
  column('service'),
  column('id'),
  column('class'),
  column('state'),
  column('hold'),
  numeric('bytes'),
  column('parked_at'),
  column('error'),
];

/** The path of a letter. @throws Failure 2 when the id is not one of `dead-letters list` */
function pathOf({ positionals }: CommandInput): string {
  const parts = (positionals['id'] ?? '').split('/');
  const [service = '', topic = '', partition = '', offset = ''] = parts;
  if (parts.length !== 4 || !/^\d+$/.test(partition) || !/^\d+$/.test(offset)) {
    throw usageFailure(
      'an id is <service>/<topic>/<partition>/<offset>, as "dead-letters list" shows it',
    );
  }
  return path`/api/dead-letters/${service}/${topic}/${partition}/${offset}`;
}

const list: Command = {
  name: 'dead-letters list',
  summary: 'List the records that services could never read',
  positionals: [],
  options: {
    service: option('SERVICE', 'auth, budget-enforcer or metering; all when left out'),
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
      service: values['service'],
      state: values['state'],
      topic: values['topic'],
      limit: values['limit'],
      cursor: values['cursor'],
    },
  }),
  render: (answer) => {
    const { data, next_cursor: next, unreachable } = rowOf(answer);
    const table = renderTable(rowsOf(data), COLUMNS, 'There is no dead letter.');
    const more = typeof next === 'string' ? `More: --cursor ${next}\n` : '';
    const isWhole = !Array.isArray(unreachable) || unreachable.length === 0;
    const rest = isWhole ? '' : `Not shown, because they did not answer: ${text(unreachable)}\n`;
    return table + more + rest;
  },
};

const show: Command = {
  name: 'dead-letters show',
  summary: 'Show one record that could never be read, as text and as hex digits',
  positionals: ['id'],
  options: {},
  example: 'tollgate dead-letters show metering/request.completed/0/17',
  request: (input) => ({ method: 'GET', path: pathOf(input) }),
  render: (answer) => {
    const { payload_text: plain, payload_hex: hex, ...rest } = rowOf(answer);
    return `${renderCard(rest)}\npayload as text\n${printable(text(plain))}\n\npayload as hex\n${text(hex)}\n`;
  },
};

const retry: Command = {
  name: 'dead-letters retry',
  summary: 'Read a record with the code of today and do what it asks for',
  positionals: ['id'],
  options: {},
  example: 'tollgate dead-letters retry metering/request.completed/0/17',
  request: (input) => ({ method: 'POST', path: `${pathOf(input)}/retry` }),
  render: (answer) => {
    const letter = rowOf(answer);
    if (letter['state'] !== 'accepted') return renderCard(letter);
    const id = text(letter['id']);
    return `Its service is away; it is tried again by itself.\nLook later: tollgate dead-letters show ${id}\n`;
  },
};

/** Nothing a record holds may steer the terminal it is shown in. */
function printable(value: string): string {
  return value.replaceAll(/\p{Cc}/gu, (sign) =>
    sign === '\n' ? sign : `\\x${sign.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Commands over records that could never be read. */
export const DEAD_LETTER_COMMANDS: readonly Command[] = [list, show, retry];
