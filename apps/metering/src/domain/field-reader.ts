import { isColumnText, messageOf, parsePicoUsd, parseUuid, type PicoUsd } from '#libs/kernel';

/** A record that can never be read: what is wrong, without any of its content. */
export class RecordFault extends Error {
  constructor(
    /** Short class of the fault, a label of metrics and of `dead_letter`. */
    readonly faultClass: string,
    message: string,
  ) {
    super(message);
    this.name = 'RecordFault';
  }
}

/** Largest amount of one event, pUSD: a million million dollars, far inside `Decimal(38,12)`. */
const MAX_PICO_USD = 10n ** 24n;

const RFC3339_UTC = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z$/;

/** The members of a record's JSON value. @throws RecordFault `not_json` */
export function readObject(value: Uint8Array): Readonly<Record<string, unknown>> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(value));
  } catch (error) {
    const reason = error instanceof SyntaxError ? 'the value is not JSON' : messageOf(error);
    throw new RecordFault('not_json', reason);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new RecordFault('not_json', 'the value is not a JSON object');
  }
  return parsed as Readonly<Record<string, unknown>>;
}

/**
 * Reads members of known names and forms; unknown members are none of its business, because a minor
 * version may add them. Every method throws RecordFault `malformed` naming the member.
 */
export class FieldReader {
  constructor(
    private readonly members: Readonly<Record<string, unknown>>,
    private readonly path = '',
  ) {}

  /** Text of 1 to `most` characters that a column can hold. */
  text(name: string, most = 256): string {
    const value = this.members[name];
    if (!isColumnText(value, most)) throw this.fault(name, `text of 1 to ${most} characters`);
    return value;
  }

  /**
   * A name that a caller or a provider gave and no money depends on: cut to `most` characters and made
   * well-formed, so that it cannot make a record unreadable; the empty text is null.
   */
  labelOrNull(name: string, most = 256): string | null {
    const value = this.members[name];
    if (value === null || value === '') return null;
    if (typeof value !== 'string') throw this.fault(name, 'text or null');
    return value.slice(0, most).toWellFormed();
  }

  textOrNull(name: string, most = 256): string | null {
    return this.isNull(name) ? null : this.text(name, most);
  }

  oneOf<T extends string>(name: string, values: readonly T[]): T {
    const value = this.members[name];
    if (!values.includes(value as T)) throw this.fault(name, `one of ${values.join(', ')}`);
    return value as T;
  }

  /** The dashed lower-case form. */
  uuid(name: string): string {
    const value = this.members[name];
    const uuid = typeof value === 'string' ? parseUuid(value) : null;
    if (uuid === null) throw this.fault(name, 'a UUID');
    return uuid;
  }

  hex(name: string, digits: number): string {
    const value = this.members[name];
    if (typeof value !== 'string' || value.length !== digits || !/^[0-9a-f]+$/.test(value)) {
      throw this.fault(name, `${digits} hex digits`);
    }
    return value;
  }

  flag(name: string): boolean {
    const value = this.members[name];
    if (typeof value !== 'boolean') throw this.fault(name, 'true or false');
    return value;
  }

  /** True when the member is, false when it is absent. */
  flagIfSet(name: string): boolean {
    return Object.hasOwn(this.members, name) && this.flag(name);
  }

  integer(name: string, least: number, most: number): number {
    const value = this.members[name];
    if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most) {
      throw this.fault(name, `a whole number from ${least} to ${most}`);
    }
    return value as number;
  }

  integerOrNull(name: string, least: number, most: number): number | null {
    return this.isNull(name) ? null : this.integer(name, least, most);
  }

  /** A duration in milliseconds, possibly with a fraction, from 0 to 49 days. */
  duration(name: string): number {
    const value = this.members[name];
    if (typeof value !== 'number' || !(value >= 0) || value > 0xffff_ffff) {
      throw this.fault(name, 'milliseconds from 0 to 4294967295');
    }
    return value;
  }

  durationOrNull(name: string): number | null {
    return this.isNull(name) ? null : this.duration(name);
  }

  /** Integer text of pico-dollars, not negative. */
  money(name: string): PicoUsd {
    const value = this.members[name];
    if (typeof value === 'string' && /^\d{1,25}$/.test(value)) {
      const amountPicoUsd = parsePicoUsd(value);
      if (amountPicoUsd <= MAX_PICO_USD) return amountPicoUsd;
    }
    throw this.fault(name, 'an integer string of pico-dollars, at least 0');
  }

  /** RFC 3339 in UTC, as milliseconds. */
  time(name: string): number {
    const value = this.members[name];
    const timeMs = typeof value === 'string' && RFC3339_UTC.test(value) ? Date.parse(value) : NaN;
    if (Number.isNaN(timeMs)) throw this.fault(name, 'an RFC 3339 time in UTC');
    return timeMs;
  }

  list(name: string, most: number): readonly unknown[] {
    const value = this.members[name];
    if (!Array.isArray(value) || value.length > most) {
      throw this.fault(name, `a list of at most ${most}`);
    }
    return value;
  }

  object(name: string): Readonly<Record<string, unknown>> {
    return this.asObject(this.members[name], name);
  }

  /** A reader of a nested object. */
  nested(value: unknown, name: string): FieldReader {
    return new FieldReader(this.asObject(value, name), `${this.path}${name}.`);
  }

  isNull(name: string): boolean {
    return this.members[name] === null;
  }

  fault(name: string, expected: string): RecordFault {
    return new RecordFault('malformed', `${this.path}${name} must be ${expected}`);
  }

  private asObject(value: unknown, name: string): Readonly<Record<string, unknown>> {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.fault(name, 'an object');
    }
    return value as Readonly<Record<string, unknown>>;
  }
}
