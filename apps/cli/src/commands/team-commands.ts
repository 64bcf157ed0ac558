import { option, path, type Command } from '../command.js';
import { column, numeric, renderCard, renderTable, rowOf, rowsOf } from '../table.js';

const COLUMNS = [
  column('team_id', 'id'),
  column('team_name', 'name'),
  column('policy'),
  numeric('key_count', 'keys'),
  numeric('user_count', 'users'),
  column('created_at'),
];

const create: Command = {
  name: 'teams create',
  summary: 'Create a team',
  positionals: ['team_id'],
  options: {
    name: option('TEXT', 'name of the team, its id when left out'),
    description: option('TEXT', 'what the team is for'),
  },
  example: 'tollgate teams create research --name "Research group"',
  request: ({ positionals, values }) => ({
    method: 'POST',
    path: '/teams',
    body: JSON.stringify({
      team_id: positionals['team_id'],
      team_name: values['name'] ?? positionals['team_id'],
      description: values['description'],
    }),
  }),
  render: (answer) => renderCard(rowOf(answer)),
};

const list: Command = {
  name: 'teams list',
  summary: 'List teams by id',
  positionals: [],
  options: {},
  example: 'tollgate teams list',
  request: () => ({ method: 'GET', path: '/teams' }),
  render: (answer) =>
    renderTable(
      rowsOf(rowOf(answer)['teams']),
      COLUMNS,
      'There is no team yet. Make one: tollgate teams create research',
    ),
};

const show: Command = {
  name: 'teams show',
  summary: 'Show one team with its keys and members',
  positionals: ['team_id'],
  options: {},
  example: 'tollgate teams show research',
  request: ({ positionals }) => ({
    method: 'GET',
    path: path`/teams/${positionals['team_id'] ?? ''}`,
  }),
  render: (answer) => renderCard(rowOf(answer)),
};

/** Commands over teams. */
export const TEAM_COMMANDS: readonly Command[] = [create, list, show];
