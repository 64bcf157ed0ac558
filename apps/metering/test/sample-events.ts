import {
  EMITTER_LOST_V1,
  eventHeaders,
  eventIdOf,
  EVENT_KIND,
  laneOf,
  partitionOfKey,
  REQUEST_COMPLETED_V1,
  REQUEST_REJECTED_V1,
  TOPICS,
  type EmitterRangeV1,
  type RequestCompletedV1,
  type RequestRejectedV1,
} from '#libs/events';
import type { LogRecord, LogRecordInput } from '#libs/event-log/core';
import { picoUsd, toRfc3339, type KeyId, type RequestId } from '#libs/kernel';
import { priceIdOf } from '#libs/pricing/adapters';
import type { IdentifiedPrice, PriceEntry } from '#libs/pricing/core';

/** Partitions of the tests. */
export const PARTITIONS = 3;

/** 2026-09-01T10:00:00Z */
export const NOW_MS = 1_788_256_800_000;

const ENTRY: PriceEntry = {
  sku: 'simulator/simulator-mini',
  provider: 'simulator',
  model: 'simulator-mini',
  conditions: { serviceTier: 'standard', inputFrom: 0, inputTo: null },
  currency: 'USD',
  effectiveFrom: '2026-01-01T00:00:00Z',
  ratesPicoUsd: { input_text: picoUsd(1_000_000n), output_text: picoUsd(2_000_000n) },
  source: { url: 'https://example.com/pricing', readOn: '2026-08-01' },
};

/** 1 USD per million tokens in, 2 USD out. */
export const PRICE: IdentifiedPrice = { ...ENTRY, priceId: priceIdOf(ENTRY) };

/** Keys of which the first four bytes are chosen so that each lies in the partition of its number. */
export function keyInPartition(partition: number, number = 0): KeyId {
  const head = (partition + PARTITIONS * number).toString(16).padStart(8, '0');
  return `${head}-0000-4000-8000-000000000000` as KeyId;
}

function requestId(number: number): RequestId {
  return `01990000-0000-7000-8000-${number.toString(16).padStart(12, '0')}` as RequestId;
}

/** A measured attempt of 1000 tokens in and 500 out: 0.002 USD. */
export function completed(
  number: number,
  changes: Partial<RequestCompletedV1> = {},
  atMs = NOW_MS,
): RequestCompletedV1 {
  const id = requestId(number);
  return {
    event_id: eventIdOf(id, 1, EVENT_KIND.completed),
    request_id: id,
    attempt: 1,
    final: true,
    org_id: 'default',
    key_id: keyInPartition(0),
    team_id: null,
    user_id: 'user-1',
    provider: 'simulator',
    model_requested: 'simulator-mini',
    model: 'simulator-mini',
    model_served: 'simulator-mini',
    operation: 'chat',
    stream: false,
    service_tier_requested: null,
    service_tier_served: null,
    status: 'ok',
    http_status: 200,
    provenance: 'measured',
    usage_source: 'provider_final',
    raw_usage: '{"prompt_tokens":1000,"completion_tokens":500}',
    usage: { input_text: 1000, output_text: 500 },
    price_id: PRICE.priceId,
    price_version: 'f'.repeat(64),
    price_state: 'priced',
    cost_pusd: '2000000000',
    charge_pusd: '2000000000',
    hold_pusd: '5000000000',
    hold: null,
    flags: [],
    finish_reason: 'stop',
    admitted_at: toRfc3339(atMs - 100),
    occurred_at: toRfc3339(atMs),
    latency_ms: 100,
    ttft_ms: null,
    upstream_request_id: null,
    client_request_id: null,
    client_retry_count: null,
    traceparent: null,
    source: 'proxy',
    ...changes,
  };
}

/** A refusal for want of budget. */
export function rejected(
  number: number,
  changes: Partial<RequestRejectedV1> = {},
  atMs = NOW_MS,
): RequestRejectedV1 {
  const id = requestId(number);
  return {
    event_id: eventIdOf(id, 1, EVENT_KIND.rejected),
    request_id: id,
    org_id: 'default',
    key_id: keyInPartition(0),
    team_id: null,
    user_id: 'user-1',
    model_requested: 'simulator-mini',
    reason: 'budget',
    code: 'budget_exceeded',
    occurred_at: toRfc3339(atMs),
    ...changes,
  };
}

/** An emitter that numbers what it emits per lane, as a spool does. */
export class SampleEmitter {
  private readonly sequences = new Map<number, bigint>();

  constructor(readonly emitterId = 'e'.repeat(32)) {}

  /** The record of an attempt in the partition of its key. */
  completed(event: RequestCompletedV1, sequence?: bigint): LogRecordInput {
    return this.record(TOPICS.requestCompleted, REQUEST_COMPLETED_V1, event, sequence);
  }

  /** The record of a refusal in the partition of its key. */
  rejected(event: RequestRejectedV1, sequence?: bigint): LogRecordInput {
    return this.record(TOPICS.requestRejected, REQUEST_REJECTED_V1, event, sequence);
  }

  /**
   * The record by which it gives up a range of its stream in the lane of a partition.
   * @param topic whose lane it is; the record itself is always one of `request.completed`
   */
  lost(
    partition: number,
    fromSeq: bigint,
    toSeq: bigint,
    topic: typeof TOPICS.requestCompleted | typeof TOPICS.requestRejected = TOPICS.requestCompleted,
  ): LogRecordInput {
    const lane = laneOf(TOPICS.requestCompleted, partition, PARTITIONS);
    const data: EmitterRangeV1 = {
      emitter_id: this.emitterId,
      lane: laneOf(topic, partition, PARTITIONS),
      from_seq: fromSeq.toString(),
      to_seq: toSeq.toString(),
    };
    const sequence = (this.sequences.get(lane) ?? 0n) + 1n;
    this.sequences.set(lane, sequence);
    const headers = eventHeaders({
      id: `${this.emitterId}.${lane}.${sequence}`,
      type: EMITTER_LOST_V1,
      service: 'proxy',
      time: toRfc3339(NOW_MS),
      subject: this.emitterId,
      partitionKey: this.emitterId,
      stream: { emitterId: this.emitterId, lane, sequence },
    });
    return {
      topic: TOPICS.requestCompleted,
      partition,
      key: this.emitterId,
      headers: { ...headers },
      value: Buffer.from(JSON.stringify(data)),
    };
  }

  private record(
    topic: typeof TOPICS.requestCompleted | typeof TOPICS.requestRejected,
    type: string,
    event: RequestCompletedV1 | RequestRejectedV1,
    given?: bigint,
  ): LogRecordInput {
    const partition = partitionOfKey(event.key_id as KeyId, PARTITIONS);
    const lane = laneOf(topic, partition, PARTITIONS);
    const sequence = given ?? (this.sequences.get(lane) ?? 0n) + 1n;
    const highest = this.sequences.get(lane) ?? 0n;
    this.sequences.set(lane, sequence > highest ? sequence : highest);
    const headers = eventHeaders({
      id: event.event_id,
      type,
      service: 'proxy',
      time: event.occurred_at,
      subject: event.request_id,
      partitionKey: event.key_id,
      stream: { emitterId: this.emitterId, lane, sequence },
    });
    const value = Buffer.from(JSON.stringify(event));
    return { topic, partition, key: event.key_id, headers: { ...headers }, value };
  }
}

/** Records as a log returns them, from an offset on. */
export function asRead(
  inputs: readonly LogRecordInput[],
  firstOffset = 0n,
  appendedAtMs = NOW_MS + 50,
): readonly LogRecord[] {
  return inputs.map((input, i) => ({ ...input, offset: firstOffset + BigInt(i), appendedAtMs }));
}
