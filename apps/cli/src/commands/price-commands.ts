import { option, type Command, type CommandInput } from '../command.js';
import { EXIT, Failure } from '../failure.js';
import { column, numeric, renderCard, renderTable, rowOf, rowsOf } from '../table.js';

const AT = option('TIME', 'the moment whose prices are meant, RFC 3339; now when left out');

const COLUMNS = [
  column('provider'),
  column('model_name', 'model'),
  numeric('input_price_per_1k', 'input per 1k'),
  numeric('output_price_per_1k', 'output per 1k'),
  column('currency'),
  column('effective_date', 'since'),
];

const request = ({ values }: CommandInput) =>
  ({ method: 'GET', path: '/api/billing/pricing', query: { at: values['at'] } }) as const;

const list: Command = {
  name: 'prices list',
  summary: 'List the prices in force, dollars per 1,000 tokens',
  positionals: [],
  options: { at: AT, provider: option('NAME', 'only this provider') },
  example: 'tollgate prices list --provider openai',
  request,
  select: (answer, { values }) => {
    const entries = Object.entries(rowOf(answer));
    const wanted = values['provider'];
    return Object.fromEntries(
      entries.filter(([, entry]) => wanted === undefined || rowOf(entry)['provider'] === wanted),
    );
  },
  render: (answer) => {
    const rows = rowsOf(Object.values(rowOf(answer)));
    return renderTable(rows, COLUMNS, 'There is no price. Remove --provider to see all.');
  },
};

const show: Command = {
  name: 'prices show',
  summary: 'Show the price of one model',
  positionals: ['provider:model'],
  options: { at: AT },
  example: 'tollgate prices show simulator:simulator-mini',
  request,
  select: (answer, { positionals }) => {
    const name = positionals['provider:model'] ?? '';
    const entry = rowOf(answer)[name];
    if (entry !== undefined) return entry;
    throw new Failure(
      EXIT.refused,
      `no price for ${name}; a model is named <provider>:<model>\nSee them all: tollgate prices list`,
    );
  },
  render: (answer) => renderCard(rowOf(answer)),
};

/** Commands that read the price book. */
export const PRICE_COMMANDS: readonly Command[] = [list, show];
