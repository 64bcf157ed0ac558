import { Pool, type Dispatcher } from 'undici';

import { messageOf } from '#libs/kernel';
import {
  UpstreamTransport,
  type UpstreamCall,
  type UpstreamFailure,
  type UpstreamHandler,
  type UpstreamRequest,
} from '#libs/providers/core';

/** How connections to upstreams are kept. */
export interface UndiciTransportOptions {
  /** Connections per origin, which is how many requests run at once; more wait. @default 1024 */
  readonly connections?: number;
  /** Longest wait for a connection, its opening included, milliseconds. @default 60000 */
  readonly startTimeoutMs?: number;
  /** Longest time to open a connection, TLS included, milliseconds. @default 5000 */
  readonly connectTimeoutMs?: number;
  /**
   * How long an idle connection is kept, milliseconds; below what providers grant, so that a request
   * is not sent into a connection about to close. @default 4000
   */
  readonly keepAliveMs?: number;
}

/** Upstreams over HTTP/1.1 by undici's pools, one per origin, one request per connection at a time. */
export class UndiciTransport extends UpstreamTransport {
  private readonly pools = new Map<string, Pool>();
  private isClosed = false;

  constructor(private readonly options: UndiciTransportOptions = {}) {
    super();
  }

  dispatch(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const options: Dispatcher.DispatchOptions = {
      method: 'POST',
      path: request.path,
      headers: request.headers as string[],
      body: request.body as Buffer,
      headersTimeout: request.headTimeoutMs,
      bodyTimeout: request.idleTimeoutMs,
    };
    const call = new UndiciCall(handler);
    try {
      this.poolOf(request.origin).dispatch(options, call);
    } catch (error) {
      call.onResponseError(null, error as Error);
    }
    call.waitForStart(options, this.options.startTimeoutMs ?? 60_000);
    return call;
  }

  async close(): Promise<void> {
    this.isClosed = true;
    const pools = [...this.pools.values()];
    this.pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  /** @throws Error once the transport is closed */
  private poolOf(origin: string): Pool {
    if (this.isClosed) throw new Error('the transport is closed');
    let pool = this.pools.get(origin);
    if (pool === undefined) {
      const { connections = 1_024, connectTimeoutMs = 5_000, keepAliveMs = 4_000 } = this.options;
      pool = new Pool(origin, {
        connections,
        pipelining: 1,
        // Undici would take HTTP/2 where it is offered: one cut would end every call on the connection.
        allowH2: false,
        connect: { timeout: connectTimeoutMs },
        keepAliveTimeout: keepAliveMs,
        keepAliveMaxTimeout: keepAliveMs,
      });
      this.pools.set(origin, pool);
    }
    return pool;
  }
}

/**
 * One request; translates undici's callbacks. `onRequestStart` comes right before the first byte;
 * until then undici cannot take a request back, so that one given up is refused there.
 */
class UndiciCall implements UpstreamCall, Dispatcher.DispatchHandler {
  sent = false;
  private controller: Dispatcher.DispatchController | null = null;
  private queued: Dispatcher.DispatchOptions | null = null;
  private startTimer: NodeJS.Timeout | undefined;
  private wasAborted = false;
  private hasEnded = false;

  constructor(private readonly handler: UpstreamHandler) {}

  /** Bounds the wait for a connection. @param options what undici keeps in its queue */
  waitForStart(options: Dispatcher.DispatchOptions, timeoutMs: number): void {
    if (this.sent || this.hasEnded) return;
    this.queued = options;
    this.startTimer = setTimeout(
      () => this.fail('timeout', 'no connection came free in time'),
      timeoutMs,
    );
  }

  resume(): void {
    this.controller?.resume();
  }

  abort(): void {
    this.wasAborted = true;
    if (this.sent) this.controller?.abort(new Error('given up'));
    else this.fail('aborted', 'given up');
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // Thrown here the request is dropped; aborted here it would take the idle connection with it.
    if (this.hasEnded) throw new Error('given up before it was sent');
    this.sent = true;
    this.controller = controller;
    this.stopWaiting();
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    // An informational answer is not the answer.
    if (status >= 200) this.handler.onHead(status, headers);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.handler.onData(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    this.hasEnded = true;
    this.handler.onEnd();
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.fail(this.reasonOf(error), messageOf(error));
  }

  private fail(reason: UpstreamFailure['reason'], message: string): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    // Undici keeps the request until its turn comes, but need not keep its bytes.
    if (this.queued !== null) this.queued.body = null;
    this.stopWaiting();
    this.handler.onFailure({ sent: this.sent, reason, message });
  }

  private stopWaiting(): void {
    clearTimeout(this.startTimer);
    this.queued = null;
  }

  private reasonOf(error: Error): UpstreamFailure['reason'] {
    if (this.wasAborted) return 'aborted';
    if (!this.sent) return 'connect';
    const code: unknown = Reflect.get(error, 'code');
    const isTimeout = code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT';
    return isTimeout ? 'timeout' : 'cut';
  }
}
