import { registerDecorator, type ValidationOptions } from 'class-validator';
import { Injectable, type PipeTransform } from '@nestjs/common';

import { parseTimeWindow, isLabel } from '#libs/teams/core';
import { invalidInput } from '#libs/platform/http';

import { usdOfNumber } from './decimal-number.js';

function rule(
  name: string,
  message: string,
  isValid: (value: unknown) => boolean,
  options?: ValidationOptions,
): PropertyDecorator {
  return (target, property) =>
    registerDecorator({
      name,
      target: target.constructor,
      propertyName: String(property),
      options: { message, ...options },
      validator: { validate: isValid },
    });
}

/** A JSON number > 0 that is read as dollars exactly. */
export function IsPositiveUsdNumber(): PropertyDecorator {
  return rule(
    'usd_number',
    'must be a number above 0 of at most 9999999999, with at most 15 digits, 12 of them decimals',
    (value) => (usdOfNumber(value) ?? 0n) > 0n,
  );
}

/** A member that this version cannot honour: only null is taken. */
export function IsNotAvailable(what: string): PropertyDecorator {
  return rule(
    'not_available',
    `${what} is not available in this version`,
    (value) => value === null || value === undefined,
  );
}

/** One value of a set is all that this version offers. */
export function IsOneOfAvailable(available: readonly string[]): PropertyDecorator {
  return rule(
    'not_available',
    `only ${available.join(' and ')} can be used in this version`,
    (value) => typeof value === 'string' && available.includes(value),
  );
}

/** An object whose JSON text is at most this long, bytes. */
export function IsSmallObject(maxBytes: number): PropertyDecorator {
  return rule('small_object', `must be an object of at most ${maxBytes} bytes of JSON`, (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    return Buffer.byteLength(JSON.stringify(value)) <= maxBytes;
  });
}

/** A label: 1 to 63 lower-case letters, digits and inner hyphens. */
export function IsLabel(): PropertyDecorator {
  return rule(
    'label',
    'must be a lowercase label of 1-63 characters',
    (value) => typeof value === 'string' && isLabel(value),
  );
}

/** A time window such as `1h30m`. */
export function IsTimeWindow(): PropertyDecorator {
  return rule(
    'time_window',
    'must be a time window such as 1h, 30m or 1h30m',
    (value) => typeof value === 'string' && parseTimeWindow(value) !== null,
  );
}

/** A decimal string of dollars, 0 to 9999999999, at most 12 fraction digits. */
export function IsUsdText(): PropertyDecorator {
  return rule(
    'usd_text',
    'must be a decimal string from 0 to 9999999999 with at most 12 fraction digits',
    (value) =>
      typeof value === 'string' && /^\d{1,10}(\.\d{1,12})?$/.test(value) && isInBounds(value),
  );
}

function isInBounds(text: string): boolean {
  return !text.startsWith('9999999999.') || /^9999999999\.0*$/.test(text);
}

/** The name of an IANA time zone. */
export function IsTimeZone(): PropertyDecorator {
  return rule(
    'timezone',
    'must be the name of an IANA time zone',
    (value) => typeof value === 'string' && isZone(value),
  );
}

function isZone(name: string): boolean {
  if (!/^[A-Za-z][A-Za-z0-9_+/-]{0,63}$/.test(name)) return false;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** Alarm shares: each > 0 and <= 1, ascending, no repeats, at most 10. */
export function IsThresholds(): PropertyDecorator {
  return rule('thresholds', 'must be at most 10 ascending numbers above 0 and up to 1', (value) => {
    if (!Array.isArray(value) || value.length > 10) return false;
    return value.every(
      (share: unknown, at) =>
        typeof share === 'number' &&
        share > 0 &&
        share <= 1 &&
        (at === 0 || share > (value[at - 1] as number)),
    );
  });
}

/** Refuses bodies that are no JSON object; an empty body counts as `{}`. */
@Injectable()
export class ObjectBodyPipe implements PipeTransform<unknown, object> {
  transform(value: unknown): object {
    if (value === undefined) return {};
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
    const message = 'the body must be a JSON object';
    throw invalidInput([{ in: 'body', path: [], message, type: 'object_type' }]);
  }
}
