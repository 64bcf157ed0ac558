/**
 * Guarantee: settled + held <= limit after every admission, every charge lands exactly once on every
 * account of its subject, and all holds come back. Method: random histories of placements,
 * settlements, releases and changed limits over a key and a team budget, beside a naive model.
 */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import type { UsageRatedV1 } from '#libs/events';
import { picoUsd } from '#libs/kernel';

import { accountKey, availablePicoUsd, type AccountState } from './account.js';
import { applyDefinition } from './definition.decider.js';
import { isExhausted } from './exhaustion.js';
import { decideHolds, type KnownHold } from './hold.decider.js';
import { settleBatch } from './settlement.decider.js';

type Step =
  | { readonly do: 'place'; readonly wants: readonly (readonly [bigint, bigint])[] }
  | { readonly do: 'settle'; readonly share: bigint; readonly unheld: bigint }
  | { readonly do: 'release' }
  | { readonly do: 'limit'; readonly team: boolean; readonly limit: bigint };

const amount = fc.bigInt({ min: 1n, max: 500n });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('place' as const),
    wants: fc.array(
      fc.tuple(amount, amount).map(([a, b]) => (a > b ? ([a, b] as const) : ([b, a] as const))),
      { minLength: 1, maxLength: 5 },
    ),
  }),
  fc.record({
    do: fc.constant('settle' as const),
    share: fc.bigInt({ min: 0n, max: 100n }),
    unheld: fc.constantFrom(0n, 0n, 0n, 7n),
  }),
  fc.record({ do: fc.constant('release' as const) }),
  fc.record({
    do: fc.constant('limit' as const),
    team: fc.boolean(),
    limit: fc.bigInt({ min: 0n, max: 3_000n }),
  }),
);

/** A store in memory that applies decisions as the database does. */
class World {
  readonly accounts = new Map<string, AccountState>();
  readonly open: KnownHold[] = [];
  /** What did not hold; empty when every guarantee did. */
  readonly violations: string[] = [];
  charged = 0n;
  private serial = 0;
  private rev = 1;

  constructor(limits: readonly [bigint, bigint]) {
    this.define('key', limits[0]);
    this.define('team', limits[1]);
  }

  define(scope: 'key' | 'team', limit: bigint): void {
    const former = this.accounts.get(`b-${scope}/1`) ?? null;
    const definition = {
      budgetId: `b-${scope}`,
      scope,
      subjectId: scope,
      period: 'total',
      limitPicoUsd: picoUsd(limit),
      thresholds: [0.5],
      enabled: true,
      deleted: false,
      rev: this.rev++,
    };
    this.store([applyDefinition(former, definition, picoUsd(this.charged))!.account]);
  }

  store(accounts: readonly AccountState[]): void {
    for (const account of accounts) this.accounts.set(accountKey(account), account);
  }

  place(wants: readonly (readonly [bigint, bigint])[]): void {
    const requests = wants.map(([want, least]) => ({
      holdId: `h${this.serial++}`,
      subjects: [
        { scope: 'key' as const, subjectId: 'key' },
        { scope: 'team' as const, subjectId: 'team' },
      ],
      wantPicoUsd: picoUsd(want),
      leastPicoUsd: picoUsd(least),
    }));
    const decision = decideHolds([...this.accounts.values()], requests);
    this.store(decision.accounts);
    for (const hold of decision.newHolds)
      this.open.push({ ...hold, emitterId: 'e', state: 'open' });
    this.check('no account is over its limit', isWithin(decision.accounts));
    decision.results.forEach((result, at) => {
      const [want, least] = wants[at]!;
      if (result.outcome === 'refused') return;
      const amount = result.amountPicoUsd;
      this.check('an amount is between least and want', least <= amount && amount <= want);
    });
  }

  settle(share: bigint, unheld: bigint): void {
    const hold = this.open.shift();
    const charge = hold === undefined ? 0n : (hold.amountPicoUsd * share) / 100n;
    const total = charge + unheld;
    const subject = (scope: 'key' | 'team') => ({
      scope,
      subject_id: scope,
      events: 1,
      charge_pusd: String(total),
      tokens_in: 0,
      tokens_out: 0,
    });
    const rated: UsageRatedV1 = {
      batch_id: 'b',
      source: { topic: 'request.completed', partition: 0, first: '0', last: '0' },
      subjects: [subject('key'), subject('team')],
      holds:
        hold === undefined
          ? []
          : [{ hold_id: hold.holdId, charge_pusd: String(charge), provenance: 'measured' }],
      watermarks: [],
    };
    const holds = hold === undefined ? [] : [hold];
    this.store(settleBatch({ accounts: [...this.accounts.values()], holds }, rated).accounts);
    this.charged += total;
  }

  release(): void {
    const hold = this.open.pop();
    for (const { budget_id: budgetId, epoch } of hold?.budgets ?? []) {
      const account = this.accounts.get(accountKey({ budgetId, epoch }))!;
      this.store([{ ...account, heldPicoUsd: picoUsd(account.heldPicoUsd - hold!.amountPicoUsd) }]);
    }
  }

  checkFigures(): void {
    const held = this.open.reduce((sum, hold) => sum + hold.amountPicoUsd, 0n);
    for (const account of this.accounts.values()) {
      const { limitPicoUsd, settledPicoUsd, heldPicoUsd, blocked } = account;
      this.check('every charge is settled once', settledPicoUsd === this.charged);
      this.check('what is held are the open holds', heldPicoUsd === held);
      this.check(
        'a block matches its level',
        blocked === isExhausted(limitPicoUsd, settledPicoUsd),
      );
    }
  }

  check(guarantee: string, holds: boolean): void {
    if (!holds) this.violations.push(guarantee);
  }
}

function isWithin(accounts: Iterable<AccountState>): boolean {
  return [...accounts].every((account) => availablePicoUsd(account) >= 0n);
}

describe('random histories of two accounts', () => {
  test('no admission overspends, no charge is lost or doubled, every block matches its level', () => {
    const outcome = fc.check(
      fc.property(
        fc.tuple(fc.bigInt({ min: 0n, max: 3_000n }), fc.bigInt({ min: 0n, max: 3_000n })),
        fc.array(step, { maxLength: 60 }),
        (limits, steps) => {
          const world = new World(limits);
          for (const each of steps) {
            if (each.do === 'place') world.place(each.wants);
            else if (each.do === 'settle') world.settle(each.share, each.unheld);
            else if (each.do === 'release') world.release();
            else world.define(each.team ? 'team' : 'key', each.limit);
            world.checkFigures();
          }
          return world.violations.length === 0;
        },
      ),
      { numRuns: 300 },
    );
    expect(fc.defaultReportMessage(outcome) ?? 'held').toBe('held');
  });

  test('while limits stand and all money is held, settled never passes the limit', () => {
    const outcome = fc.check(
      fc.property(
        fc.bigInt({ min: 1n, max: 3_000n }),
        fc.array(step, { maxLength: 60 }),
        (limit, steps) => {
          const world = new World([limit, limit + 100n]);
          for (const each of steps) {
            if (each.do === 'place') world.place(each.wants);
            else if (each.do === 'settle') world.settle(each.share, 0n);
            else world.release();
            world.check('settled and held stay within', isWithin(world.accounts.values()));
          }
          return world.violations.length === 0;
        },
      ),
      { numRuns: 300 },
    );
    expect(fc.defaultReportMessage(outcome) ?? 'held').toBe('held');
  });
});
