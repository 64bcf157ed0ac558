import {
  answerKnownHold,
  decideHolds,
  type KnownHold,
  type PlaceHoldInput,
  type PlaceHoldResult,
} from '#libs/budgets/core';
import { AppError } from '#libs/kernel';
import type { Transaction } from '#libs/platform/postgres';

import { addHeld, lockAccounts } from './account.query.js';
import type { HoldCall } from './hold-batcher.js';
import { insertHolds, readHolds } from './hold.query.js';

/** Bounds of one call; they match the columns. */
const MAX_HOLDS_PER_CALL = 10_000;
const MAX_HOLD_ID_CHARS = 100;
const MAX_EMITTER_ID_CHARS = 64;
const MAX_SUBJECTS = 8;
/** Largest single hold, pUSD ($1e18): sums of a batch stay within the columns. */
const MAX_WANT_PICO_USD = 10n ** 30n;

/** @throws AppError `budget.invalid_hold` when the call is out of bounds */
export function validateHolds(call: HoldCall): void {
  const { emitterId, holds } = call;
  if (emitterId.length < 1 || emitterId.length > MAX_EMITTER_ID_CHARS) throw invalid('emitterId');
  if (holds.length > MAX_HOLDS_PER_CALL) throw invalid('holds');
  for (const { holdId, subjects, wantPicoUsd, leastPicoUsd } of holds) {
    if (holdId.length < 1 || holdId.length > MAX_HOLD_ID_CHARS) throw invalid('holdId');
    if (subjects.length > MAX_SUBJECTS) throw invalid('subjects');
    if (typeof wantPicoUsd !== 'bigint' || typeof leastPicoUsd !== 'bigint') {
      throw invalid('wantPicoUsd');
    }
    if (wantPicoUsd > MAX_WANT_PICO_USD) throw invalid('wantPicoUsd');
    if (leastPicoUsd <= 0n || leastPicoUsd > wantPicoUsd) throw invalid('leastPicoUsd');
  }
}

function invalid(field: string): AppError {
  return new AppError({
    code: 'budget.invalid_hold',
    kind: 'invalid',
    publicMessage: `${field} of a hold is out of bounds`,
    details: { field },
  });
}

/**
 * Decides the holds of several calls in one transaction, in order. The accounts are locked before
 * the holds are looked up: of two calls with the same id the later one sees what the first did.
 */
export async function placeHoldsIn(
  tx: Transaction,
  calls: readonly HoldCall[],
): Promise<readonly (readonly PlaceHoldResult[])[]> {
  const requests = calls.flatMap((call) => call.holds);
  const accounts = await lockAccounts(tx, { subjects: distinctSubjects(requests) });
  if (accounts.length === 0) return calls.map((call) => decideHolds([], call.holds).results);
  const stored = await readHolds(
    tx,
    requests.map((request) => request.holdId),
  );
  const known = new Map(stored.map((hold) => [hold.holdId, hold]));
  const decision = decideHolds(
    accounts,
    requests.filter((request) => !known.has(request.holdId)),
  );
  const emitters = emittersOf(calls);
  await insertHolds(
    tx,
    decision.newHolds.map((hold) => ({ ...hold, emitterId: emitters.get(hold.holdId)! })),
  );
  await addHeld(tx, decision.accounts);
  const decided = new Map(decision.results.map((result) => [result.holdId, result]));
  for (const hold of decision.newHolds) {
    known.set(hold.holdId, { ...hold, emitterId: emitters.get(hold.holdId)!, state: 'open' });
  }
  return calls.map(({ emitterId, holds }) =>
    holds.map((request) => {
      const hold: KnownHold | undefined = known.get(request.holdId);
      if (hold === undefined) return decided.get(request.holdId)!;
      return answerKnownHold(hold, emitterId, request, accounts);
    }),
  );
}

/** The first emitter that asks for an id owns it. */
function emittersOf(calls: readonly HoldCall[]): Map<string, string> {
  const emitters = new Map<string, string>();
  for (const { emitterId, holds } of calls) {
    for (const { holdId } of holds) {
      if (!emitters.has(holdId)) emitters.set(holdId, emitterId);
    }
  }
  return emitters;
}

function distinctSubjects(requests: readonly PlaceHoldInput[]): PlaceHoldInput['subjects'] {
  const subjects = requests.flatMap((request) => request.subjects);
  return [...new Map(subjects.map((each) => [`${each.scope}/${each.subjectId}`, each])).values()];
}
