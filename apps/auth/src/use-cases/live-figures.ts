import {
  isExhausted,
  type BudgetAuthority,
  type BudgetRow,
  type BudgetSubject,
} from '#libs/budgets/core';
import type { PostgresBudgetDefinitionStore } from '#libs/budgets/adapters';
import { ZERO_PICO_USD, type Clock, type PicoUsd } from '#libs/kernel';
import { statusOfKey, type KeyStatus, type VirtualKey } from '#libs/keys/core';
import type { UsageReader } from '#libs/usage/core';

import { ORGANISATION_ID } from '../auth-options.js';

/** Ids asked for in one call to another service. */
const CALL_IDS = 1000;

/** A key with what the other services know of it now. */
export interface KeyView {
  readonly key: VirtualKey;
  readonly status: KeyStatus;
  /** Limit of the key's own budget of period total; null = none. */
  readonly maxBudgetPicoUsd: PicoUsd | null;
  readonly spentPicoUsd: PicoUsd;
  readonly requests: number;
  readonly lastUsedMs: number | null;
}

/** What the other services know of some keys and of the subjects above them. */
export interface LiveFacts {
  readonly spent: ReadonlyMap<string, PicoUsd>;
  readonly activity: ReadonlyMap<
    string,
    { readonly requests: number; readonly lastUsedMs: number }
  >;
}

/** Facts of a key that nobody can have used yet. */
export const NO_FACTS: LiveFacts = { spent: new Map(), activity: new Map() };

/** The subjects whose budgets cover a key: itself and the team it belongs to, not a mere label. */
export function subjectsOfKey(
  key: Pick<VirtualKey, 'keyId' | 'teamId' | 'teamRecordId'>,
): BudgetSubject[] {
  const own: BudgetSubject = { scope: 'key', subjectId: key.keyId };
  if (key.teamId === null || key.teamRecordId === null) return [own];
  return [own, { scope: 'team', subjectId: key.teamId }];
}

/** The name under which facts about a subject are kept. */
export function subjectName(subject: BudgetSubject): string {
  return `${subject.scope}/${subject.subjectId}`;
}

/** Spend from the budget authority and activity from reporting, joined with the keys. */
export class LiveFigures {
  constructor(
    private readonly budgets: PostgresBudgetDefinitionStore,
    private readonly authority: Pick<BudgetAuthority, 'spendOf'>,
    private readonly activity: Pick<UsageReader, 'activityOf'>,
    private readonly clock: Clock,
  ) {}

  /** @throws AppError `rpc.unavailable` when a service cannot be asked */
  async factsOf(keys: readonly VirtualKey[]): Promise<LiveFacts> {
    const subjects = distinctSubjects(keys);
    const keyIds = keys.map(({ keyId }) => keyId);
    const [spends, activities] = await Promise.all([
      inChunks(subjects, (chunk) => this.authority.spendOf(chunk)),
      inChunks(keyIds, (chunk) => this.activity.activityOf(ORGANISATION_ID, chunk)),
    ]);
    return {
      spent: new Map(spends.map((one) => [subjectName(one), one.settledPicoUsd])),
      activity: new Map(activities.map((one) => [one.keyId, one])),
    };
  }

  /** Keys as callers see them, in the given order; budget rows are read now. */
  async viewsOf(keys: readonly VirtualKey[], facts: LiveFacts): Promise<KeyView[]> {
    const rows = await inChunks(distinctSubjects(keys), (chunk) =>
      this.budgets.ofSubjects(ORGANISATION_ID, chunk),
    );
    const bySubject = Map.groupBy(rows, (row) => `${row.scope}/${row.scopeId}`);
    return keys.map((key) => this.viewOf(key, facts, bySubject));
  }

  private viewOf(
    key: VirtualKey,
    facts: LiveFacts,
    bySubject: ReadonlyMap<string, readonly BudgetRow[]>,
  ): KeyView {
    const covering = subjectsOfKey(key).flatMap(
      (subject) => bySubject.get(subjectName(subject)) ?? [],
    );
    const own = covering.find((row) => row.scope === 'key' && row.period === 'total');
    const blocked = covering.some((row) => isSpent(row, facts));
    const deleted = key.deletedAtMs !== null;
    const activity = facts.activity.get(key.keyId);
    return {
      key,
      status: statusOfKey({ ...key, deleted, blocked }, this.clock.nowMs()),
      maxBudgetPicoUsd: own?.limitPicoUsd ?? null,
      spentPicoUsd: facts.spent.get(`key/${key.keyId}`) ?? ZERO_PICO_USD,
      requests: activity?.requests ?? 0,
      lastUsedMs: activity?.lastUsedMs ?? null,
    };
  }
}

function isSpent(row: BudgetRow, facts: LiveFacts): boolean {
  const settled = facts.spent.get(`${row.scope}/${row.scopeId}`) ?? ZERO_PICO_USD;
  return row.enabled && row.period === 'total' && isExhausted(row.limitPicoUsd, settled);
}

function distinctSubjects(keys: readonly VirtualKey[]): BudgetSubject[] {
  const subjects = keys.flatMap(subjectsOfKey);
  return [...new Map(subjects.map((subject) => [subjectName(subject), subject])).values()];
}

async function inChunks<In, Out>(
  items: readonly In[],
  ask: (chunk: readonly In[]) => Promise<readonly Out[]>,
): Promise<Out[]> {
  const answers: Out[] = [];
  for (let from = 0; from < items.length; from += CALL_IDS) {
    answers.push(...(await ask(items.slice(from, from + CALL_IDS))));
  }
  return answers;
}
