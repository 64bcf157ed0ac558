import { Agent, request } from 'undici';

import { AppError, messageOf } from '#libs/kernel';

import { decodeRpc, encodeRpc, fromRpcFailure, type RpcFailure } from './rpc-codec.js';
import { RpcTransport } from './rpc.js';

/** Where the other services are. */
export interface HttpRpcOptions {
  /** Service name, or its part before the first dot, to base URL without trailing slash. */
  readonly baseUrls: Readonly<Record<string, string>>;
  /** `SERVICE_SECRET`, shared by the services of a deployment. */
  readonly secret: string;
  /** From sending to the last byte of the answer, milliseconds. */
  readonly timeoutMs: number;
}

/** Connections kept per service; calls are short and batched. */
const CONNECTIONS_PER_SERVICE = 16;

/** Calls over HTTP/1.1 keep-alive: `POST <base>/internal/rpc/<service>/<method>` with a JSON array. */
export class HttpRpcTransport extends RpcTransport {
  private readonly agent: Agent;

  constructor(private readonly options: HttpRpcOptions) {
    super();
    this.agent = new Agent({ connections: CONNECTIONS_PER_SERVICE, pipelining: 1 });
  }

  async call(service: string, method: string, args: readonly unknown[]): Promise<unknown> {
    const { baseUrls, secret, timeoutMs } = this.options;
    const base = baseUrls[service] ?? baseUrls[service.split('.')[0]!];
    if (base === undefined) throw unavailable(service, 'no address is configured');
    try {
      const response = await request(`${base}/internal/rpc/${service}/${method}`, {
        method: 'POST',
        dispatcher: this.agent,
        headers: { 'content-type': 'application/json', authorization: `SERVICE ${secret}` },
        body: encodeRpc(args),
        signal: AbortSignal.timeout(timeoutMs),
      });
      const text = await response.body.text();
      if (response.statusCode === 200) return decodeRpc(text);
      throw failureOf(service, response.statusCode, text);
    } catch (error) {
      if (error instanceof AppError) throw error;
      throw unavailable(service, messageOf(error), error);
    }
  }

  /** Closes idle connections. */
  close(): Promise<void> {
    return this.agent.close();
  }
}

function failureOf(service: string, status: number, text: string): AppError {
  try {
    const failure = JSON.parse(text) as Partial<RpcFailure>;
    if (typeof failure.code === 'string' && typeof failure.kind === 'string') {
      return fromRpcFailure(failure as RpcFailure);
    }
  } catch {
    // Not our form: a gateway or another program answered; the status is all there is to say.
  }
  return unavailable(service, `status ${status}`);
}

function unavailable(service: string, reason: string, cause?: unknown): AppError {
  return new AppError({
    code: 'rpc.unavailable',
    kind: 'unavailable',
    publicMessage: `service ${service} cannot be reached`,
    internalMessage: `service ${service} cannot be reached: ${reason}`,
    retryable: true,
    cause,
  });
}
