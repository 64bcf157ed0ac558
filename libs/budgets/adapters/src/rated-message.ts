import type { BudgetScope, Provenance, UsageRatedV1 } from '#libs/events';
import { AppError, isColumnText } from '#libs/kernel';

/** Bounds of one message; metering's batches stay far below. */
const MAX_ENTRIES = 200_000;
const SCOPES: ReadonlySet<string> = new Set<BudgetScope>(['key', 'team', 'user', 'organisation']);
const PROVENANCES: ReadonlySet<string> = new Set<Provenance>([
  'measured',
  'estimated_partial',
  'estimated_hold',
  'zero_not_sent',
]);

/**
 * Reads the value of a `usage.rated.v1` record. Members it does not know are ignored.
 * @throws AppError `budget.malformed_event` naming the faulty member
 */
export function parseUsageRated(value: Uint8Array): UsageRatedV1 {
  const message = parseObject(value);
  check(/^[0-9a-f]{64}$/.test(String(message['batch_id'])), 'batch_id');
  const source = objectOf(message['source'], 'source');
  check(isColumnText(source['topic'], 255), 'source.topic');
  check(isCount(source['partition']), 'source.partition');
  check(isOffset(source['first']) && isOffset(source['last']), 'source.first, source.last');
  check(BigInt(source['first'] as string) <= BigInt(source['last'] as string), 'source.last');
  for (const each of listOf(message['subjects'], 'subjects')) {
    check(SCOPES.has(String(each['scope'])), 'subjects.scope');
    check(isColumnText(each['subject_id'], 255), 'subjects.subject_id');
    check(isAmount(each['charge_pusd']), 'subjects.charge_pusd');
  }
  for (const each of listOf(message['holds'], 'holds')) {
    check(isColumnText(each['hold_id'], 100), 'holds.hold_id');
    check(isAmount(each['charge_pusd']), 'holds.charge_pusd');
    check(PROVENANCES.has(String(each['provenance'])), 'holds.provenance');
  }
  return message as unknown as UsageRatedV1;
}

/** @throws AppError `budget.malformed_event` when the bytes are not a JSON object */
export function parseObject(value: Uint8Array): Record<string, unknown> {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(value);
    return objectOf(JSON.parse(text), 'value');
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw malformed('value', error);
  }
}

function objectOf(value: unknown, member: string): Record<string, unknown> {
  check(typeof value === 'object' && value !== null && !Array.isArray(value), member);
  return value as Record<string, unknown>;
}

function listOf(value: unknown, member: string): readonly Record<string, unknown>[] {
  check(Array.isArray(value) && value.length <= MAX_ENTRIES, member);
  return (value as unknown[]).map((each) => objectOf(each, member));
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0;
}

function isOffset(value: unknown): boolean {
  return typeof value === 'string' && /^\d{1,18}$/.test(value);
}

/** At most 30 digits: sums of a message stay far within the columns. */
function isAmount(value: unknown): boolean {
  return typeof value === 'string' && /^\d{1,30}$/.test(value);
}

function check(condition: boolean, member: string): asserts condition {
  if (!condition) throw malformed(member);
}

/** The failure of an event that cannot be understood; it is kept as a dead letter. */
export function malformed(member: string, cause?: unknown): AppError {
  return new AppError({
    code: 'budget.malformed_event',
    kind: 'invalid',
    publicMessage: `the event is malformed: ${member}`,
    details: { member },
    cause,
  });
}
