import type { ServerResponse } from 'node:http';

import type { AttemptStatus } from '#libs/events';
import { failpoint, formatUsd, uuidHex, type Clock } from '#libs/kernel';
import {
  ChatStreamReader,
  readChatAnswer,
  type UpstreamCall,
  type UpstreamFailure,
  type UpstreamHandler,
  type UpstreamHeaders,
} from '#libs/providers/core';
import type { Spool } from '#libs/spool/core';

import {
  errorEventOf,
  REFUSALS,
  sendRefusal,
  upstreamError,
  type Refusal,
} from '../http/refusal.js';
import type { ProxyMetrics } from '../metrics/proxy-metrics.js';
import type { AttemptEnd, AttemptRecord } from './attempt-record.js';
import type { InFlight } from './drains.js';
import { passedHeaders } from './passed-headers.js';
import {
  answerToFailure,
  answerToProviderError,
  isRefusalOfRequest,
  passedRetryAfter,
} from './provider-error.js';
import { RecordWait } from './record-wait.js';
import { settle, type Ending, type Figures } from './settlement.js';

/** Largest plain answer kept until its record is durable, bytes. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
/** Longest life of a stream, milliseconds. */
const TOTAL_MS = 900_000;
/** The same of a plain answer, whose head alone may take 15 minutes. */
const PLAIN_TOTAL_MS = 960_000;
/** Longest time an answer is read on for a client that has left, milliseconds. */
const DRAIN_MS = 60_000;
/** A mark of progress is noted after this many tokens, or this long after the one before. */
const MARK = { tokens: 256, afterMs: 500 } as const;
/** What every exchange of a process shares. */
export interface ExchangeParts {
  readonly spool: Pick<Spool, 'append' | 'progress' | 'health'>;
  readonly clock: Clock;
  readonly inFlight: InFlight;
  readonly metrics: ProxyMetrics;
  /** Told when a record could not be written; the process is then not ready. */
  readonly onLost: (error: unknown) => void;
}

/** Why we gave an attempt up ourselves. */
type GivenUp = 'timeout' | 'client_left' | 'too_large' | 'stream_fault' | 'unrecordable';

/**
 * One attempt in flight: takes the answer from the upstream, hands it to the client, and ends in
 * exactly one durable record before the client sees the answer's end.
 */
export class Exchange implements UpstreamHandler {
  private call: UpstreamCall | null = null;
  private status = 0;
  private headers: UpstreamHeaders = {};
  private chunks: Buffer[] = [];
  private size = 0;
  private reader: ChatStreamReader | null = null;
  private firstTokenAtMs: number | null = null;
  private markedTokens = 0;
  private markedAtMs: number;
  private givenUp: GivenUp | null = null;
  private hasEnded = false;
  private hasClientLeft = false;
  private isDraining = false;
  private readonly timers: NodeJS.Timeout[] = [];

  /**
   * @param wireId the request id as callers see it
   * @param showsUsage whether the client asked for the usage chunk of a stream
   */
  constructor(
    private readonly parts: ExchangeParts,
    private readonly record: AttemptRecord,
    private readonly res: ServerResponse,
    private readonly wireId: string,
    private readonly showsUsage: boolean,
    private readonly startedAtMs: number,
  ) {
    this.markedAtMs = startedAtMs;
  }

  /** Begins watching the client and the clock; called with the call just dispatched. */
  begin(call: UpstreamCall): void {
    this.call = call;
    if (this.hasEnded) return;
    // A closure kept as a member would tie every exchange to the old generation of the heap.
    this.res.on('close', () => this.onClientClose());
    if (this.record.facts.stream) this.after(TOTAL_MS, 'timeout');
    if (this.res.destroyed) this.onClientClose();
  }

  onHead(status: number, headers: UpstreamHeaders): void {
    this.status = status;
    this.headers = headers;
    const type = headers['content-type'];
    if (status < 300 && typeof type === 'string' && type.startsWith('text/event-stream')) {
      this.reader = new ChatStreamReader(this.showsUsage);
    }
  }

  onData(chunk: Buffer): boolean {
    if (this.reader !== null) return this.onStreamData(this.reader, chunk);
    this.size += chunk.length;
    // No timer of its own: between two chunks the transport's bound of silence holds.
    const ageMs = this.parts.clock.monotonicMs() - this.startedAtMs;
    if (this.size > MAX_ANSWER_BYTES) this.giveUp('too_large');
    else if (ageMs > PLAIN_TOTAL_MS) this.giveUp('timeout');
    else this.chunks.push(chunk);
    return true;
  }

  onEnd(): void {
    if (this.reader === null) void this.finishPlain();
    else {
      this.reader.finish();
      void this.finishStream(this.reader, null);
    }
  }

  onFailure(failure: UpstreamFailure): void {
    if (this.reader !== null) void this.finishStream(this.reader, failure);
    else void this.finishFailed(failure);
  }

  private onStreamData(reader: ChatStreamReader, chunk: Buffer): boolean {
    failpoint('stream.chunk');
    const out = reader.push(chunk);
    if (reader.fault !== null) {
      this.giveUp('stream_fault');
      return true;
    }
    this.markProgress(reader);
    if (out === null || this.hasClientLeft || this.res.writableEnded) return true;
    if (!this.res.headersSent) this.sendStreamHead();
    if (this.res.write(out)) return true;
    this.res.once('drain', () => this.call?.resume());
    return false;
  }

  private sendStreamHead(): void {
    this.res.writeHead(this.status, [
      'content-type',
      'text/event-stream',
      'cache-control',
      'no-cache',
      'x-request-id',
      this.wireId,
      ...passedHeaders(this.headers),
    ]);
  }

  private markProgress(reader: ChatStreamReader): void {
    const tokens = reader.estimatedTokens();
    if (tokens === this.markedTokens) return;
    const nowMs = this.parts.clock.monotonicMs();
    this.firstTokenAtMs ??= nowMs;
    if (tokens - this.markedTokens < MARK.tokens && nowMs - this.markedAtMs < MARK.afterMs) return;
    this.markedTokens = tokens;
    this.markedAtMs = nowMs;
    const { requestId, attempt } = this.record.facts;
    this.parts.spool.progress(requestId, attempt, tokens);
    // Text whose end can be neither marked nor recorded would be given away.
    if (this.parts.spool.health() === 'failed') this.giveUp('unrecordable');
  }

  private async finishPlain(): Promise<void> {
    const body = this.chunks.length === 1 ? this.chunks[0]! : Buffer.concat(this.chunks);
    const answer = readChatAnswer(body);
    const isSuccess = this.status < 300;
    const status = isSuccess ? this.okStatus() : errorStatus(this.status);
    const figures = await this.close(status, answer, {
      isErrorAnswer: !isSuccess,
      usageText: answer?.usageText ?? null,
      usageDecreased: false,
      estimatedOutputTokens: () => (isSuccess ? estimateOf(body) : 0),
    });
    if (figures === null || this.hasClientLeft || this.res.writableEnded) return;
    if (isSuccess) this.sendPlain(body, figures);
    else this.refuse(answerToProviderError(this.status, body, this.retryAfter()));
  }

  private async finishStream(
    reader: ChatStreamReader,
    failure: UpstreamFailure | null,
  ): Promise<void> {
    const isComplete =
      reader.isDone ||
      (failure === null && (reader.usageText !== null || reader.finishReason !== null));
    const status = isComplete ? this.okStatus() : this.cutStatus(failure);
    const figures = await this.close(status, reader, {
      isErrorAnswer: false,
      usageText: reader.usageText,
      usageDecreased: reader.usageDecreased,
      estimatedOutputTokens: () => reader.estimatedTokens(),
    });
    if (this.hasClientLeft || this.res.writableEnded) return;
    if (figures === null) this.endStream(errorEventOf(REFUSALS.meteringUnavailable));
    else if (isComplete || failure === null) this.endStream(reader.tail());
    else if (!this.res.headersSent) this.refuse(this.failureAnswer(failure));
    else this.endStream(errorEventOf(this.failureAnswer(failure)));
  }

  private async finishFailed(failure: UpstreamFailure): Promise<void> {
    await this.close(
      failure.reason === 'connect' ? 'provider_error' : this.cutStatus(failure),
      null,
      {
        isErrorAnswer: false,
        usageText: null,
        usageDecreased: false,
        estimatedOutputTokens: () => 0,
      },
      failure.sent,
    );
    if (!this.hasClientLeft) this.refuse(this.failureAnswer(failure));
  }

  /** Writes the attempt's one record. @returns null when that failed for good */
  private async close(
    status: AttemptStatus,
    answer: Answered | null,
    seen: SeenUsage,
    wasSent = true,
  ): Promise<Figures | null> {
    this.hasEnded = true;
    this.stopWatching();
    const { parts, record } = this;
    const endedAtMs = parts.clock.monotonicMs();
    const ending: Ending = {
      status,
      wasSent,
      isErrorAnswer: seen.isErrorAnswer,
      usageText: seen.usageText,
      usageDecreased: seen.usageDecreased,
      serviceTierServed: answer?.serviceTier ?? null,
      estimatedOutputTokens: seen.usageText === null ? seen.estimatedOutputTokens() : 0,
    };
    const figures = settle(record.facts.terms, ending);
    const wait = new RecordWait(parts.spool, () => this.endWithoutRecord());
    try {
      failpoint('outcome.before_commit');
      await parts.spool.append(record.event(this.endOf(status, answer, endedAtMs), figures));
      failpoint('outcome.after_commit');
    } catch (error) {
      parts.onLost(error);
      this.endWithoutRecord();
      return null;
    } finally {
      wait.end();
      parts.inFlight.end();
    }
    parts.metrics.attemptEnded(
      record.facts,
      status,
      figures,
      parts.clock.monotonicMs() - endedAtMs,
    );
    return figures;
  }

  private endOf(status: AttemptStatus, answer: Answered | null, endedAtMs: number): AttemptEnd {
    const { firstTokenAtMs, startedAtMs } = this;
    const upstreamId = this.headers['x-request-id'] ?? this.headers['request-id'];
    return {
      status,
      httpStatus: this.status === 0 ? null : this.status,
      modelServed: answer?.model ?? null,
      serviceTierServed: answer?.serviceTier ?? null,
      finishReason: answer?.finishReason ?? null,
      upstreamRequestId: typeof upstreamId === 'string' ? upstreamId : null,
      occurredAtMs: this.parts.clock.nowMs(),
      latencyMs: endedAtMs - startedAtMs,
      ttftMs: firstTokenAtMs === null ? null : firstTokenAtMs - startedAtMs,
    };
  }

  private sendPlain(body: Buffer, figures: Figures): void {
    const type = this.headers['content-type'];
    this.res.writeHead(this.status, [
      'content-type',
      typeof type === 'string' ? type : 'application/json',
      'content-length',
      String(body.length),
      'x-request-id',
      this.wireId,
      'x-provider',
      this.record.facts.route.provider.name,
      'x-cost-usd',
      formatUsd(figures.costPicoUsd),
      'x-event-id',
      uuidHex(this.record.eventId),
      ...passedHeaders(this.headers),
    ]);
    this.res.end(body);
  }

  private endStream(last: Buffer | string): void {
    if (!this.res.headersSent) this.sendStreamHead();
    this.res.end(last);
  }

  /** The answer is there and its record is not: the client must not take it for complete. */
  private endWithoutRecord(): void {
    if (this.hasClientLeft || this.res.writableEnded) return;
    if (this.res.headersSent) this.endStream(errorEventOf(REFUSALS.meteringUnavailable));
    else this.refuse(REFUSALS.meteringUnavailable);
  }

  private refuse(refused: Refusal): void {
    sendRefusal(this.res, this.wireId, refused);
  }

  private retryAfter(): string | null {
    return passedRetryAfter(this.headers['retry-after']);
  }

  private okStatus(): AttemptStatus {
    return this.hasClientLeft ? 'aborted' : 'ok';
  }

  private cutStatus(failure: UpstreamFailure | null): AttemptStatus {
    if (this.givenUp === 'timeout' || failure?.reason === 'timeout') return 'timeout';
    if (this.hasClientLeft) return 'aborted';
    return this.reader === null ? 'unknown' : 'partial';
  }

  private failureAnswer(failure: UpstreamFailure | null): Refusal {
    if (this.givenUp === 'too_large' || this.givenUp === 'stream_fault') {
      return upstreamError('the answer is too large', null);
    }
    return answerToFailure(failure?.reason ?? 'cut');
  }

  private onClientClose(): void {
    if (this.hasEnded || this.hasClientLeft || this.res.writableFinished) return;
    this.hasClientLeft = true;
    // Nothing was sent: there is nothing to read on, and nothing to pay for.
    if (this.call?.sent === false) return this.giveUp('client_left');
    if (!this.parts.inFlight.beginDrain()) return this.giveUp('client_left');
    this.isDraining = true;
    this.after(DRAIN_MS, 'client_left');
    this.call?.resume();
  }

  private after(timeMs: number, reason: GivenUp): void {
    this.timers.push(setTimeout(() => this.giveUp(reason), timeMs));
  }

  private giveUp(reason: GivenUp): void {
    this.givenUp ??= reason;
    this.call?.abort();
  }

  private stopWatching(): void {
    for (const timer of this.timers) clearTimeout(timer);
    if (this.isDraining) this.parts.inFlight.endDrain();
    this.isDraining = false;
  }
}

/** What an answer or a stream said of itself. */
interface Answered {
  readonly model: string | null;
  readonly serviceTier: string | null;
  readonly finishReason: string | null;
}

interface SeenUsage {
  readonly isErrorAnswer: boolean;
  readonly usageText: string | null;
  readonly usageDecreased: boolean;
  /** Called only when there is no usage object. */
  readonly estimatedOutputTokens: () => number;
}

function errorStatus(status: number): AttemptStatus {
  return isRefusalOfRequest(status) ? 'refused' : 'provider_error';
}

/** Characters / 4 of a plain answer's text; of the whole body when it cannot be read. */
function estimateOf(body: Buffer): number {
  const answer = readChatAnswer(body, { countsText: true });
  return Math.ceil((answer?.textChars ?? body.length) / 4);
}
