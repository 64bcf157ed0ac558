import {
  EVENT_KIND,
  eventIdOf,
  REQUEST_COMPLETED_V1,
  type AttemptStatus,
  type HeldBudget,
} from '#libs/events';
import { toRfc3339, type RequestId } from '#libs/kernel';
import { MAX_RECORD_BYTES, type AttemptIntent, type SpoolEvent } from '#libs/spool/core';

import type { ModelRoute } from '../admission/catalogue.js';
import type { Principal } from '../admission/principal.js';
import { atHold, type Figures, type Terms } from './settlement.js';

/** Longest text taken over from a caller or a provider into an event, characters. */
const MAX_LABEL_CHARS = 256;

/** What an attempt's record says from the moment it is admitted. */
export interface AttemptFacts {
  readonly requestId: RequestId;
  readonly attempt: number;
  readonly principal: Principal;
  readonly route: ModelRoute;
  readonly modelRequested: string;
  readonly stream: boolean;
  readonly terms: Terms;
  /** Null when no budget covered the key. */
  readonly hold: { readonly holdId: string; readonly budgets: readonly HeldBudget[] } | null;
  readonly clientRequestId: string | null;
  readonly clientRetryCount: number | null;
  readonly traceparent: string | null;
}

/** How it ended, beside the money. */
export interface AttemptEnd {
  readonly status: AttemptStatus;
  readonly httpStatus: number | null;
  readonly modelServed: string | null;
  readonly serviceTierServed: string | null;
  readonly finishReason: string | null;
  readonly upstreamRequestId: string | null;
  /** Milliseconds UTC. */
  readonly occurredAtMs: number;
  readonly latencyMs: number;
  readonly ttftMs: number | null;
}

/**
 * The record of one attempt: its intent before sending, its terminal event after. The event's JSON is
 * put together from parts, most of which are the same for both and made once.
 */
export class AttemptRecord {
  /** UUID text. */
  readonly eventId: string;
  private readonly admittedAt: string;
  /** The members that intent and event share, as bytes. */
  private readonly fixed: Buffer;

  constructor(readonly facts: AttemptFacts) {
    const { requestId, attempt, principal, route, terms, hold } = facts;
    this.eventId = eventIdOf(requestId, attempt, EVENT_KIND.completed);
    this.admittedAt = toRfc3339(terms.admittedAtMs);
    const holdPart =
      hold === null
        ? 'null'
        : `{"hold_id":"${hold.holdId}","budgets":${JSON.stringify(hold.budgets)}}`;
    this.fixed = Buffer.from(
      `{"event_id":"${this.eventId}","request_id":"${requestId}","attempt":${attempt},"final":true,` +
        `${principal.eventPart}${route.eventPart}"model_requested":${textOrNull(facts.modelRequested)},` +
        `"operation":"chat","stream":${facts.stream},` +
        `"service_tier_requested":${textOrNull(terms.serviceTierAsked)},` +
        `"price_version":"${terms.prices.version}","hold_pusd":"${terms.holdPicoUsd}",` +
        `"hold":${holdPart},"admitted_at":"${this.admittedAt}",` +
        `"client_request_id":${textOrNull(facts.clientRequestId)},` +
        `"client_retry_count":${facts.clientRetryCount},"traceparent":${textOrNull(facts.traceparent)},`,
    );
  }

  /** The journal entry: the terminal record should this process die with the outcome unknown. */
  intent(): AttemptIntent {
    const { requestId, attempt, principal, terms } = this.facts;
    const unknown: AttemptEnd = {
      status: 'unknown',
      httpStatus: null,
      modelServed: null,
      serviceTierServed: null,
      finishReason: null,
      upstreamRequestId: null,
      occurredAtMs: terms.admittedAtMs,
      latencyMs: 0,
      ttftMs: null,
    };
    return {
      requestId,
      attempt,
      lane: principal.completedLane,
      holdPicoUsd: terms.holdPicoUsd,
      body: this.json(unknown, this.admittedAt, atHold(terms, null, []), 'recovery'),
    };
  }

  /** The terminal event; the provider's usage object is left out when there is no room for it. */
  event(end: AttemptEnd, figures: Figures): SpoolEvent {
    const { requestId, attempt, principal } = this.facts;
    const occurredAt = toRfc3339(end.occurredAtMs);
    let body = this.json(end, occurredAt, figures, 'proxy');
    if (body.length > MAX_RECORD_BYTES) {
      const flags = [...figures.flags, 'raw_usage_dropped'];
      body = this.json(end, occurredAt, { ...figures, rawUsage: null, flags }, 'proxy');
    }
    return {
      lane: principal.completedLane,
      eventId: this.eventId,
      body,
      headers: {
        ce_type: REQUEST_COMPLETED_V1,
        ce_time: occurredAt,
        ce_subject: principal.record.keyId,
      },
      closes: { requestId, attempt },
    };
  }

  private json(
    end: AttemptEnd,
    occurredAt: string,
    figures: Figures,
    source: 'proxy' | 'recovery',
  ): Buffer {
    const { costPicoUsd, priceId } = figures;
    const rest =
      `"status":"${end.status}","http_status":${end.httpStatus},` +
      `"model_served":${textOrNull(end.modelServed)},` +
      `"service_tier_served":${textOrNull(end.serviceTierServed)},` +
      `"provenance":"${figures.provenance}","usage_source":"${figures.usageSource}",` +
      `"raw_usage":${figures.rawUsage === null ? 'null' : JSON.stringify(figures.rawUsage)},` +
      `"usage":${JSON.stringify(figures.usage)},` +
      `"price_id":${priceId === null ? 'null' : `"${priceId}"`},` +
      `"price_state":"${figures.priceState}",` +
      `"cost_pusd":"${costPicoUsd}","charge_pusd":"${costPicoUsd}",` +
      `"flags":${figures.flags.length === 0 ? '[]' : JSON.stringify(figures.flags)},` +
      `"finish_reason":${textOrNull(end.finishReason)},` +
      `"occurred_at":"${occurredAt}","latency_ms":${Math.round(end.latencyMs)},` +
      `"ttft_ms":${end.ttftMs === null ? null : Math.round(end.ttftMs)},` +
      `"upstream_request_id":${textOrNull(end.upstreamRequestId)},"source":"${source}"}`;
    const { fixed } = this;
    const body = Buffer.allocUnsafe(fixed.length + Buffer.byteLength(rest));
    body.set(fixed);
    body.write(rest, fixed.length);
    return body;
  }
}

/** A text as JSON, cut to what an event may carry. */
function textOrNull(text: string | null): string {
  return text === null ? 'null' : JSON.stringify(text.slice(0, MAX_LABEL_CHARS));
}
