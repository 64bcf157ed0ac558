import {
  accountKey,
  placeInSequence,
  settleBatch,
  subjectKey,
  type AccountId,
  type AccountState,
  type BudgetEvent,
  type BudgetSubject,
  type KnownHold,
  type SubjectCharge,
} from '#libs/budgets/core';
import type { UsageRatedV1 } from '#libs/events';
import { AppError, parsePicoUsd, picoUsd, type PicoUsd } from '#libs/kernel';
import type { Transaction } from '#libs/platform/postgres';

import { lockAccounts } from './account.query.js';
import { recordOverruns, saveAssessed, type BatchOverrun } from './announcement.query.js';
import {
  lockSequence,
  park,
  saveApplied,
  type RatedMessage,
  type SourceSequence,
} from './applied-batch.query.js';
import type { BudgetOutbox } from './budget-outbox.js';
import { lockHolds, readHolds, settleHolds } from './hold.query.js';
import { addSpend } from './subject-spend.query.js';

/** What became of the messages of one call. */
export interface SettlementReport {
  readonly applied: number;
  readonly duplicates: number;
  readonly parked: number;
  readonly overruns: readonly BatchOverrun[];
  /** Accounts that the call exhausted; their blocks are announced already. */
  readonly exhausted: readonly AccountId[];
}

/**
 * Settles rated messages, each once for ever, in the order of their source offsets. A message ahead
 * of a hole is parked as received and settled when the hole is filled.
 * @param messages in log order, all of one source partition or of several
 * @throws AppError `budget.rated_overlap` when a batch claims offsets that another one has settled;
 *   nothing of the call may be committed then
 */
export async function settleRated(
  tx: Transaction,
  outbox: BudgetOutbox,
  messages: readonly RatedMessage[],
): Promise<SettlementReport> {
  const totals = { applied: 0, duplicates: 0, parked: 0 };
  const overruns: BatchOverrun[] = [];
  const exhausted: AccountId[] = [];
  for (const group of bySource(messages)) {
    const sequence = await lockSequence(tx, group);
    const plan = planSequence(sequence, group);
    const outcome = await applyInOrder(tx, outbox, plan.apply);
    await saveApplied(tx, sequence, plan.apply);
    await park(tx, sequence, plan.park);
    totals.applied += plan.apply.length;
    totals.duplicates += plan.duplicates;
    totals.parked += plan.park.length;
    overruns.push(...outcome.overruns);
    exhausted.push(...exhaustedIn(outcome.events));
  }
  return { ...totals, overruns, exhausted };
}

function bySource(messages: readonly RatedMessage[]): readonly (readonly RatedMessage[])[] {
  const groups = new Map<string, RatedMessage[]>();
  for (const message of messages) {
    const { topic, partition } = message.rated.source;
    const key = `${topic}/${partition}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [message]);
    else group.push(message);
  }
  return [...groups.values()];
}

interface SequencePlan {
  readonly apply: readonly RatedMessage[];
  readonly park: readonly RatedMessage[];
  readonly duplicates: number;
}

/** Orders what is new and what was parked by source offset and cuts it at the first hole. */
function planSequence(sequence: SourceSequence, messages: readonly RatedMessage[]): SequencePlan {
  const candidates = new Map<string, RatedMessage>();
  for (const message of [...sequence.parked, ...messages]) {
    if (!candidates.has(message.rated.batch_id)) candidates.set(message.rated.batch_id, message);
  }
  const apply: RatedMessage[] = [];
  const parked: RatedMessage[] = [];
  let { nextOffset } = sequence;
  for (const message of [...candidates.values()].toSorted(compareFirst)) {
    const range = rangeOf(message);
    const verdict = placeInSequence(range, { ...sequence, nextOffset });
    if (verdict === 'overlap') throw overlap(message, nextOffset);
    if (verdict === 'park') parked.push(message);
    if (verdict !== 'apply') continue;
    apply.push(message);
    nextOffset = range.last + 1n;
  }
  const duplicates = messages.length + sequence.parked.length - apply.length - parked.length;
  return { apply, park: parked, duplicates };
}

function rangeOf({ rated }: RatedMessage): { batchId: string; first: bigint; last: bigint } {
  const { first, last } = rated.source;
  return { batchId: rated.batch_id, first: BigInt(first), last: BigInt(last) };
}

function compareFirst(a: RatedMessage, b: RatedMessage): number {
  const distance = BigInt(a.rated.source.first) - BigInt(b.rated.source.first);
  return distance < 0n ? -1 : distance > 0n ? 1 : 0;
}

function overlap({ rated }: RatedMessage, nextOffset: bigint): AppError {
  const { topic, partition, first, last } = rated.source;
  return new AppError({
    code: 'budget.rated_overlap',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage:
      `batch ${rated.batch_id} claims ${topic}/${partition} ${first}-${last}, ` +
      `but everything below ${nextOffset} was settled by other batches`,
    details: { topic, partition },
  });
}

interface Outcome {
  readonly overruns: readonly BatchOverrun[];
  readonly events: readonly BudgetEvent[];
}

/** Locks subjects, accounts and holds of all messages at once, decides one by one, writes once. */
async function applyInOrder(
  tx: Transaction,
  outbox: BudgetOutbox,
  messages: readonly RatedMessage[],
): Promise<Outcome> {
  if (messages.length === 0) return { overruns: [], events: [] };
  const charges = sumCharges(messages);
  await addSpend(
    tx,
    charges.filter((each) => each.chargePicoUsd > 0n),
  );
  const state = await lockState(tx, charges, messages);
  const settled = new Map<string, PicoUsd>();
  const changed = new Map<string, AccountState>();
  const events: BudgetEvent[] = [];
  const overruns: BatchOverrun[] = [];
  for (const { rated } of messages) {
    const changes = settleBatch(
      { accounts: [...state.accounts.values()], holds: [...state.holds.values()] },
      rated,
    );
    for (const account of changes.accounts) {
      state.accounts.set(accountKey(account), account);
      changed.set(accountKey(account), account);
    }
    for (const { holdId, chargePicoUsd } of changes.settledHolds) {
      state.holds.set(holdId, { ...state.holds.get(holdId)!, state: 'settled' });
      settled.set(holdId, chargePicoUsd);
    }
    events.push(...changes.events);
    overruns.push(...changes.overruns.map((each) => ({ ...each, batchId: rated.batch_id })));
  }
  await settleHolds(
    tx,
    [...settled].map(([holdId, chargePicoUsd]) => ({ holdId, chargePicoUsd })),
  );
  await recordOverruns(tx, overruns);
  await saveAssessed(tx, outbox, [...changed.values()], events);
  return { overruns, events };
}

function exhaustedIn(events: readonly BudgetEvent[]): readonly AccountId[] {
  return events.flatMap((event) =>
    event.type === 'budget.exceeded.v1'
      ? [{ budgetId: event.data.budget_id, epoch: event.data.epoch }]
      : [],
  );
}

interface LockedState {
  readonly accounts: Map<string, AccountState>;
  readonly holds: Map<string, KnownHold>;
}

async function lockState(
  tx: Transaction,
  subjects: readonly BudgetSubject[],
  messages: readonly RatedMessage[],
): Promise<LockedState> {
  const holdIds = messages.flatMap(({ rated }) => rated.holds.map((hold) => hold.hold_id));
  const named = await readHolds(tx, holdIds);
  const accounts = await lockAccounts(tx, {
    subjects,
    accounts: named
      .flatMap((hold) => hold.budgets)
      .map((budget) => ({ budgetId: budget.budget_id, epoch: budget.epoch })),
  });
  const holds = await lockHolds(
    tx,
    named.map((hold) => hold.holdId),
  );
  return {
    accounts: new Map(accounts.map((account) => [accountKey(account), account])),
    holds: new Map(holds.map((hold) => [hold.holdId, hold])),
  };
}

function sumCharges(messages: readonly RatedMessage[]): readonly SubjectCharge[] {
  const sums = new Map<string, SubjectCharge>();
  for (const { rated } of messages) {
    for (const subject of rated.subjects) addCharge(sums, subject);
  }
  return [...sums.values()];
}

function addCharge(
  sums: Map<string, SubjectCharge>,
  subject: UsageRatedV1['subjects'][number],
): void {
  const key = subjectKey(subject.scope, subject.subject_id);
  const former = sums.get(key)?.chargePicoUsd ?? 0n;
  sums.set(key, {
    scope: subject.scope,
    subjectId: subject.subject_id,
    chargePicoUsd: picoUsd(former + parsePicoUsd(subject.charge_pusd)),
  });
}
