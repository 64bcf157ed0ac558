import { dollars } from '../amount.js';
import { flag, listOf, option, path, type Command, type CommandInput } from '../command.js';
import { usageFailure } from '../failure.js';
import { column, numeric, renderCard, renderTable, rowOf, rowsOf, show } from '../table.js';

const SUBJECT_OPTIONS = {
  key: option('KEY_ID', 'the key the budget covers'),
  team: option('TEAM_ID', 'the team the budget covers'),
};

const COLUMNS = [
  column('id'),
  column('scope'),
  column('scope_id', 'subject'),
  column('period'),
  numeric('limit_usd', 'limit usd'),
  numeric('spent_usd', 'spent usd'),
  numeric('held_usd', 'held usd'),
  numeric('remaining_usd', 'left usd'),
  column('status'),
];

interface Subject {
  readonly scope: string;
  readonly scope_id: string;
}

function subjectOf({ values }: CommandInput): Subject | undefined {
  const { key, team } = values;
  if (key !== undefined && team !== undefined) {
    throw usageFailure('a budget covers one subject: give --key or --team, not both');
  }
  if (key !== undefined) return { scope: 'key', scope_id: key };
  return team === undefined ? undefined : { scope: 'team', scope_id: team };
}

function thresholdsOf(text: string | undefined): readonly number[] | undefined {
  const numbers = listOf(text)?.map((part) =>
    /^(0?\.\d+|1(\.0+)?)$/.test(part) ? Number(part) : 0,
  );
  if (numbers?.includes(0) !== true) return numbers;
  throw usageFailure(`--thresholds "${text}" is not a list of shares up to 1, for example 0.5,0.8`);
}

const set: Command = {
  name: 'budgets set',
  summary: 'Set the total dollars that a key or a team may spend',
  positionals: [],
  options: {
    ...SUBJECT_OPTIONS,
    limit: option('USD', 'the limit; 0 permits nothing'),
    thresholds: option('A,B', 'shares of the limit at which to tell, 0.8 when left out'),
    disabled: flag('keep and count the budget without enforcing it'),
  },
  example: 'tollgate budgets set --team research --limit 100',
  request: (input) => {
    const subject = subjectOf(input);
    if (subject === undefined)
      throw usageFailure('give the subject: --key KEY_ID or --team TEAM_ID');
    const { limit, thresholds } = input.values;
    if (limit === undefined) throw usageFailure('give the limit in dollars: --limit 25');
    const body = JSON.stringify({
      ...subject,
      period: 'total',
      limit_usd: dollars('limit', limit),
      thresholds: thresholdsOf(thresholds),
      enabled: !input.flags.has('disabled'),
    });
    return { method: 'PUT', path: '/api/budgets', body };
  },
  render: (answer) => renderCard(rowOf(answer)),
};

const list: Command = {
  name: 'budgets list',
  summary: 'List budgets with what is spent, held and left',
  positionals: [],
  options: {
    ...SUBJECT_OPTIONS,
    limit: option('N', 'most rows, 100 when left out'),
    page: option('PAGE', 'the page that a list before named'),
  },
  example: 'tollgate budgets list --team research',
  request: (input) => ({
    method: 'GET',
    path: '/api/budgets',
    query: { ...subjectOf(input), limit: input.values['limit'], page: input.values['page'] },
  }),
  render: (answer) => {
    const { data, next_page: next } = rowOf(answer);
    const hint = 'There is no budget yet. Set one: tollgate budgets set --key KEY_ID --limit 25';
    const more = typeof next === 'string' ? `more: --page ${next}\n` : '';
    return renderTable(rowsOf(data), COLUMNS, hint) + more;
  },
};

const showBudget: Command = {
  name: 'budgets show',
  summary: 'Show one budget with what is spent, held and left',
  positionals: ['budget_id'],
  options: {},
  example: 'tollgate budgets show 0c6f3f0e-9a11-4f6c-9d1a-6fe2b2c1d2b5',
  request: ({ positionals }) => ({
    method: 'GET',
    path: path`/api/budgets/${positionals['budget_id'] ?? ''}`,
  }),
  render: (answer) => renderCard(rowOf(answer)),
};

const remove: Command = {
  name: 'budgets delete',
  summary: 'Remove a budget; its subject is no longer limited by it',
  positionals: ['budget_id'],
  options: { yes: flag('confirm that the limit goes') },
  example: 'tollgate budgets delete 0c6f3f0e-9a11-4f6c-9d1a-6fe2b2c1d2b5 --yes',
  request: ({ positionals, flags }) => {
    if (!flags.has('yes')) {
      throw usageFailure(
        'the subject will be no longer limited by this budget: add --yes to go on',
      );
    }
    return { method: 'DELETE', path: path`/api/budgets/${positionals['budget_id'] ?? ''}` };
  },
  select: (_answer, { positionals }) => ({ deleted: positionals['budget_id'] }),
  render: (answer) => `deleted budget ${show(rowOf(answer)['deleted'])}\n`,
};

/** Commands over budgets. */
export const BUDGET_COMMANDS: readonly Command[] = [set, list, showBudget, remove];
