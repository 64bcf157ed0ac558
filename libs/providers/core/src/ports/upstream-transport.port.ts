/** One request to an upstream. */
export interface UpstreamRequest {
  /** Scheme, host and port, for example `http://127.0.0.1:8090`. */
  readonly origin: string;
  /** Path and query, beginning with a slash. */
  readonly path: string;
  /** Names and values in turn; the content length is the transport's. */
  readonly headers: readonly string[];
  readonly body: Uint8Array;
  /** Longest wait for the head of the answer once the request is sent, milliseconds. */
  readonly headTimeoutMs: number;
  /** Longest pause between two pieces of the answer's body, milliseconds. */
  readonly idleTimeoutMs: number;
}

/** Headers of an answer by lower-case name; a repeated one is a list. */
export type UpstreamHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** Why no complete answer came. */
export interface UpstreamFailure {
  /** False only when provably not one byte of the request was sent. */
  readonly sent: boolean;
  readonly reason: 'connect' | 'timeout' | 'cut' | 'aborted';
  /** For the log; never shown to callers. */
  readonly message: string;
}

/** Told of an answer as it comes: head, data, then exactly one of end and failure. */
export interface UpstreamHandler {
  onHead(status: number, headers: UpstreamHeaders): void;
  /** @returns false to pause until `resume` */
  onData(chunk: Buffer): boolean;
  onEnd(): void;
  onFailure(failure: UpstreamFailure): void;
}

/** A request on its way. */
export interface UpstreamCall {
  /** Whether a byte of the request may have been sent; false only while provably none was. */
  readonly sent: boolean;
  /** Goes on after `onData` returned false. */
  resume(): void;
  /**
   * Gives up; `onFailure` follows with reason `aborted` unless the answer has ended: before this
   * returns when nothing was sent, and then nothing will be.
   */
  abort(): void;
}

/** The way to upstreams; the only place that opens sockets to them. */
export abstract class UpstreamTransport {
  /** Sends a POST request. Never throws: a fault before sending is an `onFailure`. */
  abstract dispatch(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall;
  /** Breaks the connections: running requests fail as cut, later ones as not sent. Idempotent. */
  abstract close(): Promise<void>;
}
