import type { LogRecordInput } from '#libs/event-log/core';
import {
  EVENT_KIND,
  eventHeaders,
  eventIdOf,
  laneOf,
  REQUEST_COMPLETED_V1,
  TOPICS,
  type RequestCompletedV1,
} from '#libs/events';
import { picoUsd, toRfc3339, type Clock, type RequestId } from '#libs/kernel';
import { priceIdOf } from '#libs/pricing/adapters';
import type { IdentifiedPrice, PriceEntry } from '#libs/pricing/core';

/** Pico-dollars per token in and per token out: 1 and 2 dollars per million. */
const RATES = { input: 1_000_000, output: 2_000_000 };
const MODELS = ['model-a', 'model-b', 'model-c', 'model-d'] as const;

const ENTRIES: readonly PriceEntry[] = MODELS.map((model) => ({
  sku: `provider/${model}`,
  provider: 'provider',
  model,
  conditions: { serviceTier: 'standard', inputFrom: 0, inputTo: null },
  currency: 'USD',
  effectiveFrom: '2026-01-01T00:00:00Z',
  ratesPicoUsd: {
    input_text: picoUsd(BigInt(RATES.input)),
    output_text: picoUsd(BigInt(RATES.output)),
  },
  source: { url: 'https://example.com/pricing', readOn: '2026-08-01' },
}));

/** The prices that the records name. */
export const PRICES: readonly IdentifiedPrice[] = ENTRIES.map((entry) => ({
  ...entry,
  priceId: priceIdOf(entry),
}));

/** What the records of a run look like. */
export interface UsageTraffic {
  /** `LOG_PARTITIONS`. */
  readonly partitions: number;
  /** Keys that take turns within each partition. */
  readonly keysPerPartition: number;
  readonly clock: Clock;
  /** 32 hex digits; two runs into one log differ in it. @default all e */
  readonly emitterId?: string;
}

/**
 * Makes terminal records as proxies do: numbered without gaps per lane, with a verbatim usage object,
 * about 1.2 kB each. The n-th record of a partition is the same in every run but for its times.
 */
export class UsageRecords {
  private readonly made = new Map<number, number>();

  constructor(private readonly traffic: UsageTraffic) {}

  /** The next records of a partition. */
  next(partition: number, count: number): readonly LogRecordInput[] {
    const from = this.made.get(partition) ?? 0;
    this.made.set(partition, from + count);
    return Array.from({ length: count }, (_, index) => this.record(partition, from + index));
  }

  private record(partition: number, number: number): LogRecordInput {
    const event = this.event(partition, number);
    const lane = laneOf(TOPICS.requestCompleted, partition, this.traffic.partitions);
    const headers = eventHeaders({
      id: event.event_id,
      type: REQUEST_COMPLETED_V1,
      service: 'proxy',
      time: event.occurred_at,
      subject: event.request_id,
      partitionKey: event.key_id,
      stream: {
        emitterId: this.traffic.emitterId ?? 'e'.repeat(32),
        lane,
        sequence: BigInt(number + 1),
      },
    });
    return {
      topic: TOPICS.requestCompleted,
      partition,
      key: event.key_id,
      headers: { ...headers },
      value: Buffer.from(JSON.stringify(event)),
    };
  }

  private event(partition: number, number: number): RequestCompletedV1 {
    const { partitions, keysPerPartition, clock } = this.traffic;
    const nowMs = clock.nowMs();
    const keyNumber = partition + partitions * (number % keysPerPartition);
    const input = 200 + (number % 900);
    const output = 50 + (number % 400);
    const cost = String(input * RATES.input + output * RATES.output);
    const nth = hex(number, 12);
    const requestId = `0199${hex(partition, 4)}-0000-7000-8000-${nth}` as RequestId;
    const price = PRICES[keyNumber % PRICES.length]!;
    return {
      event_id: eventIdOf(requestId, 1, EVENT_KIND.completed),
      request_id: requestId,
      attempt: 1,
      final: true,
      org_id: 'default',
      key_id: `${hex(keyNumber, 8)}-0000-4000-8000-000000000000`,
      team_id: `team-${keyNumber % 20}`,
      user_id: `user-${keyNumber % 200}`,
      provider: 'provider',
      model_requested: price.model,
      model: price.model,
      model_served: price.model,
      operation: 'chat',
      stream: number % 2 === 0,
      service_tier_requested: null,
      service_tier_served: 'default',
      status: 'ok',
      http_status: 200,
      provenance: 'measured',
      usage_source: 'provider_final',
      raw_usage:
        `{"prompt_tokens":${input},"completion_tokens":${output},` +
        `"total_tokens":${input + output},"prompt_tokens_details":{"cached_tokens":0}}`,
      usage: { input_text: input, output_text: output },
      price_id: price.priceId,
      price_version: 'f'.repeat(64),
      price_state: 'priced',
      cost_pusd: cost,
      charge_pusd: cost,
      hold_pusd: '5000000000',
      hold: null,
      flags: [],
      finish_reason: 'stop',
      admitted_at: toRfc3339(nowMs - 900),
      occurred_at: toRfc3339(nowMs),
      latency_ms: 900 + (number % 100),
      ttft_ms: number % 2 === 0 ? 120 + (number % 50) : null,
      upstream_request_id: `chatcmpl-${nth}`,
      client_request_id: null,
      client_retry_count: null,
      traceparent: null,
      source: 'proxy',
    };
  }
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
