import { describe, expect, test } from '@jest/globals';

import { isLabel } from './label.js';
import {
  createTeam,
  policyStateOf,
  unlimitedPolicy,
  type CreateTeamCommand,
  type Policy,
} from './team.decider.js';
import { parseTimeWindow } from './time-window.js';

const COMMAND: CreateTeamCommand = {
  recordId: 'r',
  orgId: 'default',
  teamId: 'crew',
  teamName: 'Crew',
  description: '',
  policy: 'tokens',
  tokenLimit: null,
  timeWindow: null,
};
const EXISTING: Policy = {
  orgId: 'default',
  name: 'tokens',
  unlimited: false,
  tokenLimit: 5,
  timeWindow: '1m',
  rev: 3,
};

describe('createTeam', () => {
  test('a new policy name makes a policy with the defaults', () => {
    const created = createTeam(COMMAND, null, 0);
    expect(created).toMatchObject({
      ok: true,
      value: { policy: { tokenLimit: 100_000, timeWindow: '1h', rev: 1 }, policyUpdated: false },
    });
  });

  test('an existing policy stays without limits in the request, and with equal ones', () => {
    for (const limits of [{}, { tokenLimit: 5 }, { tokenLimit: 5, timeWindow: '1m' }]) {
      const created = createTeam({ ...COMMAND, ...limits }, EXISTING, 0);
      expect(created).toMatchObject({ ok: true, value: { policy: null, policyUpdated: false } });
    }
  });

  test('other limits change the existing policy and say so; <= 0 means the default', () => {
    const created = createTeam({ ...COMMAND, tokenLimit: -1 }, EXISTING, 0);
    expect(created).toMatchObject({
      ok: true,
      value: { policy: { tokenLimit: 100_000, timeWindow: '1m', rev: 4 }, policyUpdated: true },
    });
  });

  test('the unlimited policy takes no limits and is made when it is missing', () => {
    const unnamed = { ...COMMAND, policy: null };
    const refused = { ok: false, error: 'limits_need_policy' };
    expect(createTeam({ ...unnamed, tokenLimit: 5 }, null, 0)).toEqual(refused);
    expect(createTeam({ ...unnamed, timeWindow: '1h' }, null, 0)).toEqual(refused);
    const policy = unlimitedPolicy('default');
    expect(createTeam(unnamed, null, 0)).toMatchObject({ ok: true, value: { policy } });
    expect(createTeam(unnamed, policy, 0)).toMatchObject({ ok: true, value: { policy: null } });
  });
});

test('labels are 1 to 63 lower-case letters, digits and inner hyphens', () => {
  for (const good of ['a', '0', 'a-b', 'x'.repeat(63)]) expect(isLabel(good)).toBe(true);
  for (const bad of ['', '-a', 'a-', 'A', 'a_b', 'x'.repeat(64), 'a\n', 'ä']) {
    expect(isLabel(bad)).toBe(false);
  }
});

test('windows are sums of hours, minutes, seconds and milliseconds, above zero', () => {
  expect(parseTimeWindow('1h30m')).toBe(5_400_000);
  expect(parseTimeWindow('1m')).toBe(60_000);
  expect(parseTimeWindow('5ms')).toBe(5);
  expect(parseTimeWindow('1m5ms')).toBe(60_005);
  for (const bad of ['1d', 'abc', '', '0s', '0h0m', '1', '100000s', '1h1h1h1h1h', '1h ']) {
    expect(parseTimeWindow(bad)).toBeNull();
  }
});

test('the events of a team and of its policy carry their whole state', () => {
  const created = createTeam({ ...COMMAND, timeWindow: '30m' }, EXISTING, 0);
  if (!created.ok || created.value.policy === null) throw new Error('no policy was changed');
  expect(created.value.event).toEqual({
    team_id: 'crew',
    org_id: 'default',
    team_name: 'Crew',
    description: '',
    policy: 'tokens',
    deleted: false,
    rev: 1,
  });
  expect(policyStateOf(created.value.policy)).toEqual({
    org_id: 'default',
    name: 'tokens',
    unlimited: false,
    token_limit: 5,
    time_window: '30m',
    rev: 4,
  });
});
