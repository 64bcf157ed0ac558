import type { EventLog } from '#libs/event-log/core';
import type { Peppers } from '#libs/keys/core';
import type { RpcTransport } from '#libs/platform/rpc';
import type { Runtime } from '#libs/platform/telemetry';
import type { UpstreamTransport } from '#libs/providers/core';
import type { Spool } from '#libs/spool/core';

/** What the proxy is built from; infrastructure is made outside, handed in, and closed outside. */
export interface ProxyOptions {
  readonly runtime: Runtime;
  /** Reaches `auth.keys`, `auth.prices` and `budget`. */
  readonly rpc: RpcTransport;
  readonly eventLog: EventLog;
  /** This process alone writes it. */
  readonly spool: Spool;
  readonly transport: UpstreamTransport;
  readonly peppers: Peppers;
  /** The operator secret, good for `GET /v1/models` only; null = the scheme is disabled. */
  readonly adminApiKey: string | null;
  /** The credential in an environment variable named by the catalogue; null = not set. */
  readonly credentialOf: (variable: string) => string | null;
  /** The public origin, without trailing slash; asked when models are listed. */
  readonly publicUrl: () => string;
  /** How long attempts in flight and the relay may take at shutdown, milliseconds. */
  readonly drainMs: number;
}
