import { parseUuid } from '#libs/kernel';
import type { AttemptCursor } from '#libs/usage/core';

/** Where the next page begins, and the interval of the first page, which its default end fixed. */
export interface PageCursor {
  readonly startMs: number;
  readonly endMs: number;
  readonly after: AttemptCursor;
}

/** Latest time the store can hold, milliseconds UTC: 2200. */
const LATEST_MS = 7_258_118_400_000;
/** Longest cursor that is read, characters; ours have about 100. */
const MAX_CURSOR_CHARS = 256;

/** The cursor as callers see it: an opaque word that may stand in a query. It grants nothing. */
export function formatPageCursor(cursor: PageCursor): string {
  const { startMs, endMs, after } = cursor;
  const members = [1, startMs, endMs, after.occurredAtMs, after.eventId];
  return Buffer.from(JSON.stringify(members)).toString('base64url');
}

/** @returns null for anything that `formatPageCursor` does not make */
export function parsePageCursor(text: string): PageCursor | null {
  if (text.length > MAX_CURSOR_CHARS) return null;
  try {
    const members: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    if (!Array.isArray(members) || members.length !== 5 || members[0] !== 1) return null;
    const [, startMs, endMs, occurredAtMs, id] = members as readonly unknown[];
    const eventId = typeof id === 'string' ? parseUuid(id) : null;
    if (!isTime(startMs) || !isTime(endMs) || !isTime(occurredAtMs) || eventId === null)
      return null;
    return { startMs, endMs, after: { occurredAtMs, eventId } };
  } catch {
    return null;
  }
}

function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= LATEST_MS;
}
