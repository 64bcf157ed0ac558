import { expect, test } from '@jest/globals';
import fc from 'fast-check';

import type { RequestCompletedV1 } from '#libs/events';
import { picoUsd, type RequestId } from '#libs/kernel';
import type { KeyRecord } from '#libs/keys/core';
import { PriceIndex } from '#libs/pricing/core';
import { MAX_RECORD_BYTES } from '#libs/spool/core';

import type { ModelRoute } from '../admission/catalogue.js';
import { principalOf } from '../admission/principal.js';
import { AttemptRecord, type AttemptEnd, type AttemptFacts } from './attempt-record.js';
import { atHold } from './settlement.js';

const KEY: KeyRecord = {
  keyId: '00000001-0000-4000-8000-000000000001',
  orgId: 'default',
  userId: 'bob',
  teamId: null,
  enabled: true,
  deleted: false,
  expiresAtMs: null,
  allowedModels: ['*'],
  block: null,
  budgetIds: [],
  rev: 1,
};

const ROUTE = { eventPart: '"provider":"p","model":"m",' } as ModelRoute;

function factsOf(key: Partial<KeyRecord>, text: string): AttemptFacts {
  return {
    requestId: '01900000-0000-7000-8000-000000000001' as RequestId,
    attempt: 1,
    principal: principalOf({ ...KEY, ...key }, 3),
    route: ROUTE,
    modelRequested: text,
    stream: false,
    terms: {
      prices: new PriceIndex({ version: 'a'.repeat(64), entries: [] }),
      provider: 'p',
      model: 'm',
      admittedAtMs: 0,
      serviceTierAsked: text,
      holdPicoUsd: picoUsd(5n),
      isCeiling: false,
      heldTokens: { input: 1, output: 1 },
      sentOutputLimit: null,
      estimatedInputTokens: 1,
    },
    hold: null,
    clientRequestId: text,
    clientRetryCount: null,
    traceparent: text,
  };
}

const endOf = (text: string): AttemptEnd => ({
  status: 'ok',
  httpStatus: 200,
  modelServed: text,
  serviceTierServed: text,
  finishReason: text,
  upstreamRequestId: text,
  occurredAtMs: 0,
  latencyMs: 1,
  ttftMs: 1,
});

test('the record of a recordable key fits an event, whatever callers and providers say', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 400 }),
    fc.constant('\u0001'.repeat(400)),
    fc.constant('\u20ac'.repeat(400)),
  );
  const ids = fc.oneof(fc.string(), fc.constant('u'.repeat(8_000)));
  const raw = fc.constantFrom('{}', `{"x":"${'\u20ac'.repeat(16_000)}"}`, '"'.repeat(16_384));
  fc.assert(
    fc.property(text, ids, raw, (said, id, rawUsage) => {
      const facts = factsOf({ userId: id, orgId: 'o'.repeat(8_000) }, said);
      fc.pre(facts.principal.isRecordable);
      const record = new AttemptRecord(facts);
      const { body } = record.event(endOf(said), { ...atHold(facts.terms, rawUsage, []) });
      expect(body.byteLength).toBeLessThanOrEqual(MAX_RECORD_BYTES);
      expect(record.intent().body.byteLength).toBeLessThanOrEqual(MAX_RECORD_BYTES);
      const event = JSON.parse(Buffer.from(body).toString()) as RequestCompletedV1;
      expect(event.raw_usage === rawUsage || event.flags.includes('raw_usage_dropped')).toBe(true);
    }),
  );
});

test('ids that would not leave room for a record make a key unrecordable', () => {
  expect(principalOf({ ...KEY, userId: 'u'.repeat(16_000) }, 3).isRecordable).toBe(true);
  expect(principalOf({ ...KEY, userId: 'u'.repeat(16_384) }, 3).isRecordable).toBe(false);
});
