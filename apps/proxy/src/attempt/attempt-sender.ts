import type { PlaceHoldResult } from '#libs/budgets/core';
import { failpoint, picoUsd, type Clock, type PicoUsd, type RequestId } from '#libs/kernel';
import {
  rewriteChatRequest,
  type ChatScan,
  type UpstreamRequest,
  type UpstreamTransport,
} from '#libs/providers/core';
import type { Spool } from '#libs/spool/core';

import type { Admitted } from '../admission/admission.js';
import { leastOf, outputPaidBy, type Bound } from '../admission/bound.js';
import type { Catalogue } from '../admission/catalogue.js';
import type { HoldSource } from '../admission/hold-source.js';
import type { Principal } from '../admission/principal.js';
import type { ChatCall } from '../http/chat-call.js';
import { budgetExceeded, budgetReserved, REFUSALS, type Refusal } from '../http/refusal.js';
import { AttemptRecord, type AttemptFacts } from './attempt-record.js';
import { Exchange, type ExchangeParts } from './exchange.js';
import { settle, type Terms } from './settlement.js';

/** Longest wait for the head of a plain answer, milliseconds; models may think for minutes. */
const PLAIN_HEAD_MS = 900_000;
/** Longest silence of an answer that has begun, or of a stream, milliseconds. */
const IDLE_MS = 60_000;
/** A W3C trace context. @source W3C Trace Context, section 3.2 */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** An admitted request with the state it was judged by. */
export interface Admission extends Admitted {
  readonly catalogue: Catalogue;
  /** Milliseconds UTC; decides the price. */
  readonly admittedAtMs: number;
}

/** Money set aside for an attempt. */
interface Held {
  readonly amountPicoUsd: PicoUsd;
  /** Null when no budget covers the key. */
  readonly hold: AttemptFacts['hold'];
}

/** What the sender is made of. */
export interface AttemptSenderParts {
  readonly holds: HoldSource;
  readonly spool: Pick<Spool, 'open' | 'append' | 'health'>;
  readonly transport: UpstreamTransport;
  readonly exchange: ExchangeParts;
  readonly clock: Clock;
}

/** Holds the money, makes the intent durable, sends: in this order, and never otherwise. */
export class AttemptSender {
  constructor(private readonly parts: AttemptSenderParts) {}

  /** @returns the refusal when nothing was sent; null once the attempt is on its way */
  async send(call: ChatCall, scan: ChatScan, admission: Admission): Promise<Refusal | null> {
    const { bound } = admission;
    failpoint('admit.before_hold');
    const needsHold = call.principal!.record.budgetIds.length > 0 && bound.totalPicoUsd > 0n;
    const held = needsHold
      ? await this.hold(call.requestId, call.principal!, bound)
      : { amountPicoUsd: bound.totalPicoUsd, hold: null };
    if ('status' in held) return held;
    const record = this.prepare(call, scan, admission, held);
    if (call.res.destroyed) return this.abandon(held);
    try {
      await this.parts.spool.open(record.intent());
    } catch {
      // Of a dead writer nobody knows what it stored: the next start charges the intent it finds, and
      // gives back the hold of one it does not.
      if (this.parts.spool.health() !== 'failed') this.abandon(held);
      return REFUSALS.meteringUnavailable;
    }
    if (call.res.destroyed) {
      await this.closeUnsent(record);
      return null;
    }
    let request: UpstreamRequest;
    try {
      failpoint('dispatch.before_sent');
      request = requestOf(call, scan, record, limitToSend(bound, held));
    } catch (error) {
      await this.closeUnsent(record);
      throw error;
    }
    this.dispatch(call, scan, record, request);
    failpoint('dispatch.after_sent');
    return null;
  }

  /** @throws what prevents the record, after giving the hold back */
  private prepare(call: ChatCall, scan: ChatScan, admission: Admission, held: Held): AttemptRecord {
    try {
      failpoint('admit.after_hold');
      return this.recordOf(call, scan, admission, held);
    } catch (error) {
      this.abandon(held);
      throw error;
    }
  }

  private async hold(
    requestId: RequestId,
    principal: Principal,
    bound: Bound,
  ): Promise<Held | Refusal> {
    let result: PlaceHoldResult;
    try {
      result = await this.parts.holds.take({
        holdId: `${requestId}.1`,
        subjects: principal.subjects,
        expectedBudgetIds: principal.record.budgetIds,
        wantPicoUsd: bound.totalPicoUsd,
        leastPicoUsd: bound.isCeiling ? bound.totalPicoUsd : leastOf(bound),
      });
    } catch {
      return REFUSALS.budgetUnavailable;
    }
    if (result.outcome === 'held') {
      const { holdId, amountPicoUsd, budgets } = result;
      // No budget was found: a definition went away since the key was cached.
      if (budgets.length === 0) return { amountPicoUsd: bound.totalPicoUsd, hold: null };
      return { amountPicoUsd: picoUsd(amountPicoUsd), hold: { holdId, budgets } };
    }
    return result.reason === 'budget_reserved'
      ? budgetReserved(result, result.retryAfterMs)
      : budgetExceeded(result, result.exhausted ? 'revoked' : 'budget');
  }

  private recordOf(
    call: ChatCall,
    scan: ChatScan,
    admission: Admission,
    held: Held,
  ): AttemptRecord {
    const { headers } = call.req;
    return new AttemptRecord({
      requestId: call.requestId,
      attempt: 1,
      principal: call.principal!,
      route: admission.route,
      modelRequested: scan.model,
      stream: scan.stream,
      terms: termsOf(scan, admission, held),
      hold: held.hold,
      clientRequestId: single(headers['x-request-id'] ?? headers['x-client-request-id']),
      clientRetryCount: retryCount(single(headers['x-stainless-retry-count'])),
      traceparent: matching(TRACEPARENT, single(headers['traceparent'])),
    });
  }

  private dispatch(
    call: ChatCall,
    scan: ChatScan,
    record: AttemptRecord,
    request: UpstreamRequest,
  ): void {
    const { exchange: parts, transport, clock } = this.parts;
    const sentAtMs = clock.monotonicMs();
    const { res, wireId, startedAtMs } = call;
    const exchange = new Exchange(parts, record, res, wireId, scan.includeUsage, startedAtMs);
    parts.inFlight.begin();
    parts.metrics.phase('admit', sentAtMs - startedAtMs);
    exchange.begin(transport.dispatch(request, exchange));
  }

  /** Nothing was sent or written down. */
  private abandon(held: Held): null {
    if (held.hold !== null) this.parts.holds.giveBack(held.hold.holdId);
    return null;
  }

  /** The client left after the intent: the attempt ends without having been sent. */
  private async closeUnsent(record: AttemptRecord): Promise<void> {
    const figures = settle(record.facts.terms, {
      status: 'aborted',
      wasSent: false,
      isErrorAnswer: false,
      usageText: null,
      usageDecreased: false,
      serviceTierServed: null,
      estimatedOutputTokens: 0,
    });
    await this.parts.spool.append(
      record.event(
        {
          status: 'aborted',
          httpStatus: null,
          modelServed: null,
          serviceTierServed: null,
          finishReason: null,
          upstreamRequestId: null,
          occurredAtMs: this.parts.clock.nowMs(),
          latencyMs: 0,
          ttftMs: null,
        },
        figures,
      ),
    );
  }
}

function requestOf(
  call: ChatCall,
  scan: ChatScan,
  record: AttemptRecord,
  limit: number | null,
): UpstreamRequest {
  const { route, attempt } = record.facts;
  return {
    origin: route.origin,
    path: route.path,
    headers: [...route.headers, 'x-client-request-id', `${call.wireId}.${attempt}`],
    body: rewriteChatRequest(scan, {
      model: route.upstreamModel,
      ...(limit === null ? {} : { outputLimit: { tokens: limit, member: route.limitMember } }),
      injectUsage: scan.stream && route.provider.usageInStream === 'inject',
    }),
    headTimeoutMs: scan.stream ? IDLE_MS : PLAIN_HEAD_MS,
    idleTimeoutMs: IDLE_MS,
  };
}

/**
 * The output limit to write into the upstream's request: what the hold pays for, or the model's limit
 * when the client asked for more; null leaves the request as it is.
 */
function limitToSend(bound: Bound, held: Held): number | null {
  if (held.hold !== null && !bound.isCeiling) return outputPaidBy(bound, held.amountPicoUsd);
  const exceeds = bound.clientLimit !== null && bound.clientLimit > bound.maxOutputTokens;
  return exceeds ? bound.maxOutputTokens : null;
}

function termsOf(scan: ChatScan, admission: Admission, held: Held): Terms {
  const { route, bound, catalogue, admittedAtMs } = admission;
  const limit = limitToSend(bound, held);
  const sentLimit = limit ?? bound.clientLimit;
  const bytes = scan.object.end - scan.object.start;
  const { holdInputFromLimit } = route.model.limits;
  return {
    prices: catalogue.prices,
    provider: route.provider.name,
    model: route.model.id,
    admittedAtMs,
    serviceTierAsked: scan.serviceTier,
    holdPicoUsd: held.amountPicoUsd,
    isCeiling: bound.isCeiling,
    heldTokens: {
      input: bound.maxInputTokens * bound.choices,
      output: (limit ?? bound.maxOutputTokens) * bound.choices,
    },
    sentOutputLimit: sentLimit === null ? null : sentLimit * bound.choices,
    estimatedInputTokens: holdInputFromLimit
      ? bound.maxInputTokens
      : Math.min(bound.maxInputTokens, Math.ceil(bytes / 4)),
  };
}

function single(value: string | string[] | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

function matching(pattern: RegExp, value: string | null): string | null {
  return value !== null && pattern.test(value) ? value : null;
}

function retryCount(value: string | null): number | null {
  return value !== null && /^\d{1,4}$/.test(value) ? Number(value) : null;
}
