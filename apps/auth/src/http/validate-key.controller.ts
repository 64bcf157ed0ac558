import { Controller, HttpCode, Inject, Post, Req, UseFilters } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

import { AppError, uuidHex } from '#libs/kernel';
import { FastapiErrorFilter, invalidInput } from '#libs/platform/http';

import { AUTH_OPTIONS, type AuthOptions } from '../auth-options.js';
import { ValidateKey } from '../use-cases/validate-key.use-case.js';
import { AddressLimiter } from './address-limiter.js';
import { toKeyResponse } from './key-response.mapping.js';

/** Calls per minute that one address may make. */
const CALLS_PER_MINUTE = 600;

/** No limits are kept in this version, so nothing is current and everything is in order. */
const NO_LIMIT = { current: 0, limit: null, ok: true };

/** `/api/keys/validate`: the key in the header is the subject; nobody else has to be known. */
@Controller('/api/keys/validate')
@UseFilters(FastapiErrorFilter)
export class ValidateKeyController {
  private readonly limiter: AddressLimiter;

  constructor(
    @Inject(AUTH_OPTIONS) options: AuthOptions,
    private readonly validateKey: ValidateKey,
  ) {
    this.limiter = new AddressLimiter(options.runtime.clock, CALLS_PER_MINUTE);
  }

  @Post()
  @HttpCode(200)
  async validate(@Req() request: FastifyRequest): Promise<object> {
    const { authorization } = request.headers;
    if (authorization === undefined) throw missingHeader();
    if (!this.limiter.admit(request.ip)) throw tooManyCalls();
    const presented = /^bearer +(.*)$/i.exec(authorization)?.[1] ?? authorization;
    const { refusal, view } = await this.validateKey.execute(presented.trim());
    const valid = refusal === null && view !== null;
    return {
      valid,
      key_id: view === null ? null : uuidHex(view.key.keyId),
      error: refusal,
      key_data: valid ? toKeyResponse(view) : null,
      rate_limit_info: valid ? { tpm: NO_LIMIT, rpm: NO_LIMIT } : null,
    };
  }
}

function missingHeader(): AppError {
  const message = 'Field required';
  return invalidInput([{ in: 'header', path: ['Authorization'], message, type: 'missing' }]);
}

function tooManyCalls(): AppError {
  return new AppError({
    code: 'keys.validate_limited',
    kind: 'exhausted',
    publicMessage: 'Too many requests',
    retryable: true,
  });
}
