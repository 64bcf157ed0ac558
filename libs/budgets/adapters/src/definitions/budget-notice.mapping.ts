import { parseEventType, type BudgetStateV1, type KeyRevocationV1 } from '#libs/events';

import type { BudgetStateNotice } from './postgres-budget-state.store.js';

/** Types that say how a budget stands, all of major version 1. */
const STATE_TYPES: Readonly<Record<string, 'budget' | 'key'>> = {
  'budget.exceeded': 'budget',
  'budget.reinstated': 'budget',
  'key.revoked': 'key',
  'key.reinstated': 'key',
};

/** What a record of the `control` topic means for budget states. */
export type NoticeReading =
  | { readonly kind: 'notice'; readonly notice: BudgetStateNotice }
  /** Another event, or no event of ours. */
  | { readonly kind: 'other' }
  /** Not what its type says; it can never be read. */
  | { readonly kind: 'poison'; readonly reason: string }
  /** Written by a newer release; nothing may be skipped. */
  | { readonly kind: 'newer'; readonly type: string };

/** Reads a record of the `control` topic. @param type of its header `ce_type` */
export function readBudgetNotice(type: string, value: Uint8Array): NoticeReading {
  const parsed = parseEventType(type);
  const subject = parsed === null ? undefined : STATE_TYPES[parsed.name];
  if (parsed === null || subject === undefined) return { kind: 'other' };
  if (parsed.major > 1) return { kind: 'newer', type };
  try {
    const data = JSON.parse(Buffer.from(value).toString('utf8')) as unknown;
    const isOut = parsed.name === 'budget.exceeded' || parsed.name === 'key.revoked';
    const notice =
      subject === 'budget' ? ofState(data as BudgetStateV1) : ofKey(data as KeyRevocationV1, isOut);
    const fault = faultOf(notice);
    return fault === null ? { kind: 'notice', notice } : { kind: 'poison', reason: fault };
  } catch {
    return { kind: 'poison', reason: 'the value is not a JSON object' };
  }
}

function ofState(data: BudgetStateV1): BudgetStateNotice {
  const { budget_id, scope, subject_id, epoch, budget_rev, exhausted, period } = data;
  const resets_at = data.resets_at ?? null;
  return { budget_id, scope, subject_id, epoch, budget_rev, exhausted, period, resets_at };
}

function ofKey(data: KeyRevocationV1, exhausted: boolean): BudgetStateNotice {
  const { budget_id, key_id, epoch, budget_rev, period } = data;
  const resets_at = data.resets_at ?? null;
  const subject_id = key_id;
  return { budget_id, scope: 'key', subject_id, epoch, budget_rev, exhausted, period, resets_at };
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function faultOf(notice: BudgetStateNotice): string | null {
  if (typeof notice.budget_id !== 'string' || !UUID.test(notice.budget_id)) return 'budget_id';
  if (!Number.isSafeInteger(notice.epoch)) return 'epoch';
  if (!Number.isSafeInteger(notice.budget_rev)) return 'budget_rev';
  if (typeof notice.exhausted !== 'boolean') return 'exhausted';
  if (!isSqlText(notice.subject_id)) return 'the subject';
  if (notice.resets_at !== null && !isSqlText(notice.resets_at)) return 'resets_at';
  return isSqlText(notice.period) ? null : 'period';
}

/** Whether a value is text that a column can hold: all but U+0000. */
function isSqlText(value: unknown): boolean {
  return typeof value === 'string' && !value.includes('\0');
}
