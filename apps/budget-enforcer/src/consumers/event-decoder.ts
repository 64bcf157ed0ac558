import {
  malformed,
  parseObject,
  parseUsageRated,
  validateDefinition,
  type RatedMessage,
} from '#libs/budgets/adapters';
import type { BudgetDefinitionInput } from '#libs/budgets/core';
import { parseEventType, USAGE_RATED_V1 } from '#libs/events';
import type { LogRecord } from '#libs/event-log/core';
import { AppError, parsePicoUsd } from '#libs/kernel';

/** Event names of topic `control` that concern budgets' accounts. */
const DEFINITION_EVENTS: ReadonlySet<string> = new Set(['budget.defined', 'budget.deleted']);

/**
 * Reads a record of topic `usage.rated`.
 * @throws AppError `budget.malformed_event` when it cannot be understood
 * @throws AppError `budget.newer_event` when a newer release wrote it
 */
export function decodeRated(record: LogRecord): RatedMessage {
  const type = record.headers['ce_type'] ?? '';
  if (type !== USAGE_RATED_V1) {
    refuseNewer(type);
    throw malformed('ce_type');
  }
  return { rated: parseUsageRated(record.value), value: record.value };
}

/**
 * Reads a record of topic `control`.
 * @returns null for an event that is not about a budget's definition
 * @throws AppError `budget.malformed_event`, `budget.invalid_definition` or
 *   `budget.unsupported_period` when it can never be applied
 * @throws AppError `budget.newer_event` when a newer release wrote it
 */
export function decodeDefinition(record: LogRecord): BudgetDefinitionInput | null {
  const type = record.headers['ce_type'] ?? '';
  const parsed = parseEventType(type);
  if (parsed === null || !DEFINITION_EVENTS.has(parsed.name)) return null;
  refuseNewer(type);
  const definition = toDefinition(parseObject(record.value), parsed.name === 'budget.deleted');
  validateDefinition(definition);
  return definition;
}

function refuseNewer(type: string): void {
  if ((parseEventType(type)?.major ?? 1) <= 1) return;
  throw new AppError({
    code: 'budget.newer_event',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `events of type ${type} need a newer release`,
  });
}

function toDefinition(data: Record<string, unknown>, isDeletion: boolean): BudgetDefinitionInput {
  const { scope, period, thresholds, enabled, rev } = data;
  if (scope !== 'key' && scope !== 'team' && scope !== 'user' && scope !== 'organisation') {
    throw malformed('scope');
  }
  const isShares = Array.isArray(thresholds) && thresholds.every((t) => typeof t === 'number');
  if (!isShares) throw malformed('thresholds');
  if (typeof enabled !== 'boolean') throw malformed('enabled');
  if (typeof rev !== 'number') throw malformed('rev');
  return {
    budgetId: textOf(data['budget_id'], 'budget_id'),
    scope,
    subjectId: textOf(data['scope_id'], 'scope_id'),
    period: textOf(period, 'period'),
    limitPicoUsd: parsePicoUsd(textOf(data['limit_pusd'], 'limit_pusd')),
    thresholds: thresholds as readonly number[],
    enabled,
    deleted: isDeletion || data['deleted'] === true,
    rev,
  };
}

function textOf(value: unknown, member: string): string {
  // No column can hold U+0000.
  if (typeof value !== 'string' || value.includes('\0')) throw malformed(member);
  return value;
}
