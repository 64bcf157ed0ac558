import { dollars, wholeNumber } from '../amount.js';
import { flag, listOf, option, path, type Command } from '../command.js';
import { usageFailure } from '../failure.js';
import { column, numeric, renderCard, renderTable, rowOf, rowsOf, show } from '../table.js';

/** Longest life of a key in days, and of a rotated secret in seconds. */
const MOST_DAYS = 36_500;
const MOST_GRACE_SECONDS = 2_592_000;

const COLUMNS = [
  column('id'),
  column('name'),
  column('team_id', 'team'),
  column('status'),
  numeric('max_budget', 'budget usd'),
  numeric('spent', 'spent usd'),
  numeric('total_requests', 'requests'),
  column('last_used'),
];

/** The secret, which is shown once, and how to use it. */
function renderIssued(answer: unknown, url: string): string {
  const { key, key_data: data } = rowOf(answer);
  const { id, name } = rowOf(data);
  return (
    `key ${show(id)} (${show(name)}); the secret is shown only now:\n\n  ${show(key)}\n\n` +
    `Use it with any OpenAI client:\n  OPENAI_BASE_URL=${url}/v1 OPENAI_API_KEY=<the secret>\n`
  );
}

function switchTo(isActive: boolean, verb: string, summary: string): Command {
  return {
    name: `keys ${verb}`,
    summary,
    positionals: ['key_id'],
    options: {},
    example: `tollgate keys ${verb} 6fe2b2c1d2b54f6c9d1a0c6f3f0e9a11`,
    request: ({ positionals }) => ({
      method: 'PUT',
      path: path`/api/keys/${positionals['key_id'] ?? ''}`,
      body: JSON.stringify({ is_active: isActive }),
    }),
    render: (answer) => renderCard(rowOf(answer)),
  };
}

const create: Command = {
  name: 'keys create',
  summary: 'Issue a key and show its secret once',
  positionals: ['name'],
  options: {
    team: option('TEAM_ID', 'team the key belongs to'),
    budget: option('USD', 'dollars the key may spend in total'),
    models: option('A,B', 'models the key may use; all when left out'),
    'expires-days': option('N', 'days until the key stops working'),
  },
  example: 'tollgate keys create "nightly job" --team research --budget 25',
  request: ({ positionals, values }) => {
    const days = values['expires-days'];
    const body = JSON.stringify({
      name: positionals['name'],
      team_id: values['team'],
      allowed_models: listOf(values['models']),
      expires_days:
        days === undefined ? undefined : wholeNumber('expires-days', days, 1, MOST_DAYS),
    });
    const budget = values['budget'];
    if (budget === undefined) return { method: 'POST', path: '/api/keys', body };
    // The contract wants a JSON number; the digits are put in as text, so that none is rounded.
    const member = `"max_budget":${dollars('budget', budget)}`;
    return { method: 'POST', path: '/api/keys', body: `${body.slice(0, -1)},${member}}` };
  },
  render: renderIssued,
};

const list: Command = {
  name: 'keys list',
  summary: 'List keys, oldest first',
  positionals: [],
  options: {
    team: option('TEAM_ID', 'only keys of this team'),
    status: option('STATUS', 'only active, inactive, expired or revoked keys'),
  },
  example: 'tollgate keys list --status active',
  request: ({ values }) => ({
    method: 'GET',
    path: '/api/keys',
    query: { team_id: values['team'], status: values['status'] },
  }),
  render: (answer) =>
    renderTable(
      rowsOf(answer),
      COLUMNS,
      'There is no key yet. Make one: tollgate keys create "my first key"',
    ),
};

const showKey: Command = {
  name: 'keys show',
  summary: 'Show one key with its spend',
  positionals: ['key_id'],
  options: {},
  example: 'tollgate keys show 6fe2b2c1d2b54f6c9d1a0c6f3f0e9a11',
  request: ({ positionals }) => ({
    method: 'GET',
    path: path`/api/keys/${positionals['key_id'] ?? ''}`,
  }),
  render: (answer) => renderCard(rowOf(answer)),
};

const rotate: Command = {
  name: 'keys rotate',
  summary: 'Replace the secret of a key; the old one stops at once unless a grace is given',
  positionals: ['key_id'],
  options: {
    'grace-seconds': option('N', 'seconds for which the old secret still works'),
    yes: flag('confirm that clients with the old secret stop working'),
  },
  example: 'tollgate keys rotate 6fe2b2c1d2b54f6c9d1a0c6f3f0e9a11 --grace-seconds 3600',
  request: ({ positionals, values, flags }) => {
    const text = values['grace-seconds'];
    if (text === undefined && !flags.has('yes')) {
      throw usageFailure(
        'the old secret stops at once: add --yes, or --grace-seconds N to keep it for a while',
      );
    }
    const grace =
      text === undefined ? 0 : wholeNumber('grace-seconds', text, 0, MOST_GRACE_SECONDS);
    return {
      method: 'POST',
      path: path`/api/keys/${positionals['key_id'] ?? ''}/rotate`,
      body: JSON.stringify({ grace_seconds: grace }),
    };
  },
  render: renderIssued,
};

/** Commands over virtual keys. */
export const KEY_COMMANDS: readonly Command[] = [
  create,
  list,
  showKey,
  switchTo(false, 'disable', 'Switch a key off until it is enabled again'),
  switchTo(true, 'enable', 'Switch a disabled key on again'),
  rotate,
];
