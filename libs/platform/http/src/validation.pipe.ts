import { ValidationPipe, type ValidationError } from '@nestjs/common';

import type { FieldFault } from './dialects.js';
import { invalidInput } from './http-errors.js';

/** How a route treats what its contract does not name. */
export interface StrictnessOptions {
  /** True: an unknown member is a fault. False: it is dropped unread. */
  readonly refuseUnknown: boolean;
  /** Where the validated object comes from. @default body */
  readonly in?: FieldFault['in'];
}

/** Validates a DTO and reports every faulty member at once as `input.invalid`. */
export function strictValidationPipe(options: StrictnessOptions): ValidationPipe {
  const source = options.in ?? 'body';
  return new ValidationPipe({
    transform: true,
    whitelist: true,
    forbidNonWhitelisted: options.refuseUnknown,
    forbidUnknownValues: true,
    stopAtFirstError: true,
    exceptionFactory: (errors: ValidationError[]) =>
      invalidInput(errors.flatMap((error) => faultsOfError(error, source, []))),
  });
}

function faultsOfError(
  error: ValidationError,
  source: FieldFault['in'],
  above: readonly string[],
): FieldFault[] {
  const path = [...above, error.property];
  const own = Object.entries(error.constraints ?? {}).map(([rule, message]) => ({
    in: source,
    path,
    message: rule === 'whitelistValidation' ? 'this member is not known' : message,
    type: rule === 'whitelistValidation' ? 'extra_forbidden' : rule,
  }));
  const below = (error.children ?? []).flatMap((child) => faultsOfError(child, source, path));
  return [...own, ...below];
}
