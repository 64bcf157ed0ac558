import { toRfc3339 } from '#libs/kernel';

const TIME = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}:\d{2})?$/;

/** Earliest and latest time a question may name: what the store can hold, milliseconds UTC. */
const EARLIEST_MS = 0;
const LATEST_MS = 7_258_118_400_000;

/**
 * Reads an RFC 3339 time; one without zone is UTC, digits below a millisecond are cut.
 * @returns milliseconds UTC from 1970 to 2200; null for any other text, also for a day that its
 * month does not have
 * @source RFC 3339 section 5.6
 */
export function parseTime(text: string): number | null {
  const match = TIME.exec(text);
  if (match === null) return null;
  const [, day = '', minute = '', second = '00', fraction = '', zone = 'Z'] = match;
  const local = `${day}T${minute}:${second}.${fraction.padEnd(3, '0').slice(0, 3)}`;
  const localMs = Date.parse(`${local}Z`);
  if (Number.isNaN(localMs) || toRfc3339(localMs) !== `${local}Z`) return null;
  const timeMs = Date.parse(`${local}${zone}`);
  return timeMs >= EARLIEST_MS && timeMs <= LATEST_MS ? timeMs : null;
}
