import type {
  AttemptStatus,
  Provenance,
  RejectionReason,
  RequestCompletedV1,
  UsageSource,
} from '#libs/events';
import type { PicoUsd } from '#libs/kernel';
import { USAGE_CELLS, type UsageVector } from '#libs/providers/core';

import { FieldReader, readObject, RecordFault } from './field-reader.js';

const STATUSES: readonly AttemptStatus[] = [
  'ok',
  'partial',
  'refused',
  'provider_error',
  'timeout',
  'aborted',
  'unknown',
];
const PROVENANCES: readonly Provenance[] = [
  'measured',
  'estimated_partial',
  'estimated_hold',
  'zero_not_sent',
];
const USAGE_SOURCES: readonly UsageSource[] = [
  'provider_final',
  'provider_late',
  'provider_partial',
  'estimated_tokenizer',
  'none',
];
const REASONS: readonly RejectionReason[] = [
  'auth',
  'expired',
  'revoked',
  'disabled',
  'model',
  'model_unknown',
  'invalid',
  'too_large',
  'requests',
  'requests_per_day',
  'tokens',
  'policy_tokens',
  'concurrency',
  'budget',
  'budget_reserved',
  'price_unknown',
  'unestimable',
  'unavailable',
];

/** Most of one cell in one event; above it the number is noise. */
const MAX_CELL = 1_000_000_000_000;
/** Longest verbatim usage object, characters: the limit of a record. */
const MAX_RAW_USAGE_CHARS = 65_536;
const MAX_FLAGS = 64;

/** The terminal record of an attempt in our own units: money as bigint, times in milliseconds. */
export interface CompletedAttempt extends Pick<
  RequestCompletedV1,
  'provider' | 'model' | 'operation' | 'stream' | 'status' | 'provenance' | 'source'
> {
  readonly eventId: string;
  readonly requestId: string;
  readonly attempt: number;
  readonly final: boolean;
  readonly orgId: string;
  readonly keyId: string;
  readonly teamId: string | null;
  /** `teamId` is reported, and belongs to no team's budget. */
  readonly teamIsLabel: boolean;
  readonly userId: string;
  readonly modelRequested: string;
  readonly modelServed: string | null;
  readonly serviceTier: string | null;
  readonly httpStatus: number | null;
  readonly usageSource: UsageSource;
  readonly rawUsage: string | null;
  readonly usage: UsageVector;
  readonly priceId: string | null;
  readonly priceVersion: string;
  readonly priceState: 'priced' | 'ceiling';
  /** The proxy's own figures, to be compared with ours. */
  readonly statedCostPicoUsd: PicoUsd;
  readonly statedChargePicoUsd: PicoUsd;
  readonly holdPicoUsd: PicoUsd;
  readonly holdId: string | null;
  readonly flags: readonly string[];
  readonly finishReason: string | null;
  readonly admittedAtMs: number;
  readonly occurredAtMs: number;
  readonly latencyMs: number;
  readonly ttftMs: number | null;
  readonly upstreamRequestId: string | null;
}

/** A refusal in our own units. */
export interface RejectedRequest {
  readonly eventId: string;
  readonly requestId: string;
  readonly orgId: string;
  readonly keyId: string;
  readonly teamId: string | null;
  readonly userId: string;
  readonly modelRequested: string | null;
  readonly reason: RejectionReason;
  readonly code: string;
  readonly occurredAtMs: number;
}

/** What must be readable of a broken event for its money to be booked all the same. */
export interface AttemptEnvelope {
  readonly eventId: string;
  readonly requestId: string;
  readonly attempt: number;
  readonly orgId: string;
  readonly keyId: string;
  readonly teamId: string | null;
  readonly teamIsLabel: boolean;
  readonly userId: string;
  readonly provider: string;
  readonly model: string;
  readonly holdPicoUsd: PicoUsd;
  readonly holdId: string | null;
}

function readVector(fields: FieldReader): UsageVector {
  const usage = fields.object('usage');
  const cells = fields.nested(usage, 'usage');
  for (const cell of Object.keys(usage)) {
    if (!Object.hasOwn(USAGE_CELLS, cell)) throw fields.fault('usage', 'a vector of known cells');
    cells.integer(cell, 0, MAX_CELL);
  }
  return usage as UsageVector;
}

function readFlags(fields: FieldReader): readonly string[] {
  const flags = fields.list('flags', MAX_FLAGS);
  for (const flag of flags) {
    if (typeof flag !== 'string' || !/^[a-z0-9_:.-]{1,64}$/.test(flag)) {
      throw fields.fault('flags', 'words of lower-case letters');
    }
  }
  return flags as readonly string[];
}

function readHoldId(fields: FieldReader): string | null {
  if (fields.isNull('hold')) return null;
  return fields.nested(fields.object('hold'), 'hold').text('hold_id', 64);
}

/**
 * Decodes the value of a `request.completed.v1` record.
 * @throws RecordFault when it can never be read: not JSON, or a member that is missing, malformed or
 *   out of bounds; the bounds are those of the ledger's columns
 */
export function decodeCompleted(value: Uint8Array): CompletedAttempt {
  const fields = new FieldReader(readObject(value));
  const tierServed = fields.labelOrNull('service_tier_served');
  const attempt: CompletedAttempt = {
    eventId: fields.uuid('event_id'),
    requestId: fields.uuid('request_id'),
    attempt: fields.integer('attempt', 1, 65_535),
    final: fields.flag('final'),
    orgId: fields.text('org_id', 255),
    keyId: fields.uuid('key_id'),
    teamId: fields.textOrNull('team_id', 255),
    teamIsLabel: fields.flagIfSet('team_is_label'),
    userId: fields.text('user_id', 255),
    provider: fields.text('provider'),
    modelRequested: fields.labelOrNull('model_requested', 1024) ?? '',
    model: fields.text('model'),
    modelServed: fields.labelOrNull('model_served', 1024),
    operation: fields.oneOf('operation', ['chat']),
    stream: fields.flag('stream'),
    serviceTier: tierServed ?? fields.labelOrNull('service_tier_requested'),
    status: fields.oneOf('status', STATUSES),
    httpStatus: fields.integerOrNull('http_status', 0, 999),
    provenance: fields.oneOf('provenance', PROVENANCES),
    usageSource: fields.oneOf('usage_source', USAGE_SOURCES),
    rawUsage: fields.textOrNull('raw_usage', MAX_RAW_USAGE_CHARS),
    usage: readVector(fields),
    priceId: fields.isNull('price_id') ? null : fields.hex('price_id', 64),
    priceVersion: fields.text('price_version', 64),
    priceState: fields.oneOf('price_state', ['priced', 'ceiling']),
    statedCostPicoUsd: fields.money('cost_pusd'),
    statedChargePicoUsd: fields.money('charge_pusd'),
    holdPicoUsd: fields.money('hold_pusd'),
    holdId: readHoldId(fields),
    flags: readFlags(fields),
    finishReason: fields.labelOrNull('finish_reason'),
    admittedAtMs: fields.time('admitted_at'),
    occurredAtMs: fields.time('occurred_at'),
    latencyMs: fields.duration('latency_ms'),
    ttftMs: fields.durationOrNull('ttft_ms'),
    upstreamRequestId: fields.labelOrNull('upstream_request_id', 1024),
    source: fields.oneOf('source', ['proxy', 'recovery']),
  };
  if (attempt.priceId === null && needsPrice(attempt)) {
    throw new RecordFault(
      'malformed',
      'price_id must name a price, because tokens are to be priced',
    );
  }
  return attempt;
}

/** Whether the amount of the attempt follows from its tokens; otherwise it is the hold, or nothing. */
export function needsPrice(
  attempt: Pick<CompletedAttempt, 'priceState' | 'provenance' | 'usage'>,
): boolean {
  if (attempt.priceState === 'ceiling') return false;
  if (attempt.provenance === 'estimated_hold' || attempt.provenance === 'zero_not_sent')
    return false;
  return Object.values(attempt.usage).some((count) => count > 0);
}

/** Decodes the value of a `request.rejected.v1` record. @throws RecordFault as `decodeCompleted` */
export function decodeRejected(value: Uint8Array): RejectedRequest {
  const fields = new FieldReader(readObject(value));
  return {
    eventId: fields.uuid('event_id'),
    requestId: fields.uuid('request_id'),
    orgId: fields.text('org_id', 255),
    keyId: fields.uuid('key_id'),
    teamId: fields.textOrNull('team_id', 255),
    userId: fields.text('user_id', 255),
    modelRequested: fields.labelOrNull('model_requested', 1024),
    reason: fields.oneOf('reason', REASONS),
    code: fields.text('code'),
    occurredAtMs: fields.time('occurred_at'),
  };
}

function orElse<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof RecordFault) return otherwise;
    throw error;
  }
}

/**
 * What is left of a broken terminal record.
 * @returns null when it does not say whose money it is, or how much was held
 */
export function decodeEnvelope(value: Uint8Array): AttemptEnvelope | null {
  return orElse(() => {
    const fields = new FieldReader(readObject(value));
    return {
      eventId: fields.uuid('event_id'),
      requestId: fields.uuid('request_id'),
      attempt: fields.integer('attempt', 1, 65_535),
      orgId: fields.text('org_id', 255),
      keyId: fields.uuid('key_id'),
      teamId: orElse(() => fields.textOrNull('team_id', 255), null),
      teamIsLabel: orElse(() => fields.flagIfSet('team_is_label'), false),
      userId: fields.text('user_id', 255),
      provider: orElse(() => fields.text('provider'), 'unknown'),
      model: orElse(() => fields.text('model'), 'unknown'),
      holdPicoUsd: fields.money('hold_pusd'),
      holdId: orElse(() => readHoldId(fields), null),
    };
  }, null);
}
