/**
 * Guarantee: revocations that reach auth twice, late or after a reset leave each budget's state as
 * the newest of them by (epoch, budget_rev) says, and change it no further (E6).
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { TOPICS } from '#libs/events';
import { uuidV4, SystemRandom } from '#libs/kernel';
import { eventually } from '#libs/testing';

import { startAuth, type AuthFixture } from './auth-fixture.js';

const BUDGETS = 125;
/** Changes of one budget, each delivered four times in two forms: 10,000 messages in all. */
const CHANGES = 10;

interface State {
  readonly budget_id: string;
  readonly epoch: number;
  readonly budget_rev: number;
  readonly exhausted: boolean;
}

let auth: AuthFixture;

beforeAll(async () => {
  auth = await startAuth();
});

afterAll(() => auth.stop());

/** A history in which the state turns, or now and then a new epoch begins. */
function historyOf(budgetId: string, steps: readonly boolean[]): readonly State[] {
  let state: State = { budget_id: budgetId, epoch: 1, budget_rev: 0, exhausted: false };
  return steps.map((isReset) => {
    state = {
      ...state,
      epoch: state.epoch + (isReset ? 1 : 0),
      budget_rev: state.budget_rev + 1,
      exhausted: !isReset && !state.exhausted,
    };
    return state;
  });
}

/** The events of one state: a key's budget is said in two forms. */
function eventsOf(state: State): readonly { readonly type: string; readonly data: object }[] {
  const shared = { ...state, period: 'total', resets_at: null };
  const { budget_id, epoch, budget_rev } = state;
  const key = { key_id: budget_id, budget_id, epoch, budget_rev, period: 'total', resets_at: null };
  return [
    {
      type: state.exhausted ? 'budget.exceeded.v1' : 'budget.reinstated.v1',
      data: { ...shared, scope: 'key', subject_id: budget_id },
    },
    { type: state.exhausted ? 'key.revoked.v1' : 'key.reinstated.v1', data: key },
  ];
}

/** Appends to `control` and waits until auth has read all of it. */
async function deliver(states: readonly State[]): Promise<void> {
  for (let at = 0; at < states.length; at += 250) {
    await auth.eventLog.append(
      states
        .slice(at, at + 250)
        .flatMap(eventsOf)
        .map(({ type, data }) => ({
          topic: TOPICS.control,
          partition: 0,
          key: 'test',
          headers: { ce_type: type },
          value: Buffer.from(JSON.stringify(data)),
        })),
    );
  }
  const { next } = await auth.eventLog.bounds(TOPICS.control, 0);
  await eventually(
    async () => {
      const { rows } = await auth.superuser.query<{ next_offset: bigint }>(
        'SELECT next_offset FROM auth.log_position WHERE topic = $1',
        [TOPICS.control],
      );
      // What auth itself announces at its start may come behind it.
      return (rows[0]?.next_offset ?? -1n) >= next;
    },
    { deadlineMs: 120_000 },
  );
}

async function stored(): Promise<(State & { readonly updated_at: Date })[]> {
  const { rows } = await auth.superuser.query<State & { updated_at: Date }>(
    `SELECT budget_id, epoch::int, budget_rev::int, exhausted, updated_at
     FROM auth.budget_state ORDER BY budget_id`,
  );
  return rows;
}

function newestOf(states: readonly State[]): State {
  return states.reduce((newest, each) =>
    each.epoch > newest.epoch ||
    (each.epoch === newest.epoch && each.budget_rev > newest.budget_rev)
      ? each
      : newest,
  );
}

describe('revocations', () => {
  test('delivered twice, late and after a reset, the newest counts, and repeats change nothing', async () => {
    const random = new SystemRandom();
    const [steps] = fc.sample(
      fc.array(
        fc.array(
          fc.nat({ max: 5 }).map((n) => n === 0),
          { minLength: CHANGES, maxLength: CHANGES },
        ),
        { minLength: BUDGETS, maxLength: BUDGETS },
      ),
      1,
    );
    const histories = steps!.map((each) => historyOf(uuidV4(random), each));
    const all = histories.flat();
    const [delivered] = fc.sample(
      fc
        .shuffledSubarray([...all, ...all], { minLength: all.length * 2 })
        .map((shuffled) => shuffled.toSpliced(shuffled.length / 2, 0, ...all)),
      1,
    );
    await deliver(delivered!);
    const after = await stored();
    const newest = histories.map(newestOf).toSorted((a, b) => (a.budget_id < b.budget_id ? -1 : 1));
    expect(after).toMatchObject(newest);
    await deliver(all);
    expect(await stored()).toEqual(after);
  }, 300_000);
});
