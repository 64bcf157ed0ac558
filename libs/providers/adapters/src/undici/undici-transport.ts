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
  /** Connections per origin. @default 128 */
  readonly connections?: number;
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
    const call = new UndiciCall(handler);
    try {
      this.poolOf(request.origin).dispatch(
        {
          method: 'POST',
          path: request.path,
          headers: request.headers as string[],
          body: request.body as Buffer,
          headersTimeout: request.headTimeoutMs,
          bodyTimeout: request.idleTimeoutMs,
        },
        call,
      );
    } catch (error) {
      call.onResponseError(null, error as Error);
    }
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
      const { connections = 128, connectTimeoutMs = 5_000, keepAliveMs = 4_000 } = this.options;
      pool = new Pool(origin, {
        connections,
        pipelining: 1,
        connect: { timeout: connectTimeoutMs },
        keepAliveTimeout: keepAliveMs,
        keepAliveMaxTimeout: keepAliveMs,
      });
      this.pools.set(origin, pool);
    }
    return pool;
  }
}

/** One request; translates undici's callbacks. `onRequestStart` comes right before the first byte. */
class UndiciCall implements UpstreamCall, Dispatcher.DispatchHandler {
  private controller: Dispatcher.DispatchController | null = null;
  private wasAborted = false;
  private wasSent = false;
  private hasEnded = false;

  constructor(private readonly handler: UpstreamHandler) {}

  resume(): void {
    this.controller?.resume();
  }

  abort(): void {
    this.wasAborted = true;
    this.controller?.abort(new Error('given up'));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.wasAborted) controller.abort(new Error('given up'));
    else this.wasSent = true;
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
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.handler.onFailure({
      sent: this.wasSent,
      reason: this.reasonOf(error),
      message: messageOf(error),
    });
  }

  private reasonOf(error: Error): UpstreamFailure['reason'] {
    if (this.wasAborted) return 'aborted';
    if (!this.wasSent) return 'connect';
    const code: unknown = Reflect.get(error, 'code');
    const isTimeout = code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT';
    return isTimeout ? 'timeout' : 'cut';
  }
}
