import type { IncomingMessage, ServerResponse } from 'node:http';

import type { RequestId } from '#libs/kernel';

import type { Principal } from '../admission/principal.js';

/** One request on its way through the steps. */
export interface ChatCall {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** `req-` + 32 hex digits, as callers see it. */
  readonly wireId: string;
  readonly requestId: RequestId;
  /** Monotonic milliseconds. */
  readonly startedAtMs: number;
  principal: Principal | null;
  modelRequested: string | null;
}

/** The UUID behind a request id as callers see it. */
export function requestIdOf(wireId: string): RequestId {
  const hex = wireId.slice(4);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}` as RequestId;
}
