import { invalidInput, type FieldFault } from '#libs/platform/http';

import type { StartRebuildInput } from './start-rebuild.use-case.js';

const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2})$/;
const MEMBERS = ['kind', 'from', 'to', 'apply'];

/**
 * Reads the body of `POST /api/rebuilds`: `kind`, and optionally `from`, `to` (RFC 3339) and `apply`,
 * which is true for rollups and false for the ledger when left out.
 * @throws AppError `input.invalid` naming every faulty or unknown member
 */
export function readRebuildRequest(body: unknown): StartRebuildInput {
  const faults: FieldFault[] = [];
  const refuse = (name: string, message: string, type = 'value_error'): null => {
    faults.push({ in: 'body', path: [name], message, type });
    return null;
  };
  const isObject = typeof body === 'object' && body !== null && !Array.isArray(body);
  const members = (isObject ? body : {}) as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(members)) {
    if (!MEMBERS.includes(name)) refuse(name, 'this member is not known', 'extra_forbidden');
  }
  const { kind, apply } = members;
  if (kind !== 'rollups' && kind !== 'ledger') refuse('kind', 'must be rollups or ledger', 'enum');
  if (apply !== undefined && typeof apply !== 'boolean') refuse('apply', 'must be true or false');
  const time = (name: 'from' | 'to'): number | null => {
    const value = members[name];
    if (value === undefined || value === null) return null;
    const timeMs = typeof value === 'string' && TIME.test(value) ? Date.parse(value) : NaN;
    return Number.isNaN(timeMs) ? refuse(name, 'must be an RFC 3339 time with a zone') : timeMs;
  };
  const fromMs = time('from');
  const toMs = time('to');
  if (fromMs !== null && toMs !== null && fromMs >= toMs) refuse('to', 'must be after from');
  if (faults.length > 0) throw invalidInput(faults);
  return {
    kind: kind === 'ledger' ? 'ledger' : 'rollups',
    isApplied: typeof apply === 'boolean' ? apply : kind === 'rollups',
    fromMs,
    toMs,
  };
}
