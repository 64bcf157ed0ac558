import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Clock } from '#libs/kernel';
import { scanChatRequest } from '#libs/providers/core';
import { admitsAttempts, type Spool } from '#libs/spool/core';

import { admit, barredBy } from '../admission/admission.js';
import type { CatalogueSource } from '../admission/catalogue-source.js';
import type { KeyCache } from '../admission/key-cache.js';
import type { Principal } from '../admission/principal.js';
import type { AttemptSender } from '../attempt/attempt-sender.js';
import type { ProxyMetrics } from '../metrics/proxy-metrics.js';
import { requestIdOf, type ChatCall } from './chat-call.js';
import { hasQueryKey, presentedKey } from './credentials.js';
import { invalidRequest, REFUSALS, sendRefusal, type Refusal } from './refusal.js';
import type { RejectionJournal } from './rejections.js';
import { readBody } from './request-body.js';

/** What the handler is made of. */
export interface ChatHandlerParts {
  readonly keys: KeyCache;
  readonly catalogue: CatalogueSource;
  readonly spool: Pick<Spool, 'health'>;
  readonly sender: AttemptSender;
  readonly rejections: RejectionJournal;
  readonly metrics: ProxyMetrics;
  readonly clock: Clock;
  /** Whether recovery is done; before that nothing may be sent. */
  readonly isOpen: () => boolean;
  readonly onInternal: (error: unknown, wireId: string) => void;
}

/** `POST /v1/chat/completions`: from the credential to the attempt, in the order of the contract. */
export class ChatHandler {
  constructor(private readonly parts: ChatHandlerParts) {}

  /** Serves one request; never throws. */
  async handle(req: IncomingMessage, res: ServerResponse, wireId: string): Promise<void> {
    const call: ChatCall = {
      req,
      res,
      wireId,
      requestId: requestIdOf(wireId),
      startedAtMs: this.parts.clock.monotonicMs(),
      principal: null,
      modelRequested: null,
    };
    try {
      const refused = await this.serve(call);
      if (refused !== null) this.refuse(call, refused);
    } catch (error) {
      this.parts.onInternal(error, wireId);
      sendRefusal(res, wireId, REFUSALS.internal);
    }
  }

  private async serve(call: ChatCall): Promise<Refusal | null> {
    if (!this.parts.isOpen()) return REFUSALS.starting;
    const identified = this.identify(call);
    // A cached key costs no turn of the event loop.
    const barred = identified instanceof Promise ? await identified : identified;
    if (barred !== null) return barred;
    const body = await this.bodyOf(call);
    if (!Buffer.isBuffer(body)) return body;
    const scan = scanChatRequest(body);
    if (!scan.ok) return invalidRequest(scan.error.message, scan.error.param);
    call.modelRequested = scan.value.model;
    const catalogue = this.parts.catalogue.current();
    if (catalogue === null) return REFUSALS.starting;
    const nowMs = this.parts.clock.nowMs();
    const admitted = admit(call.principal!, scan.value, catalogue, nowMs);
    if ('status' in admitted) return admitted;
    if (!admitsAttempts(this.parts.spool.health())) return REFUSALS.meteringUnavailable;
    return this.parts.sender.send(call, scan.value, {
      ...admitted,
      catalogue,
      admittedAtMs: nowMs,
    });
  }

  /** Finds the principal. @returns the refusal of a key that may not be used */
  private identify(call: ChatCall): Refusal | null | Promise<Refusal | null> {
    if (hasQueryKey(call.req.url ?? '')) return REFUSALS.unknownKey;
    const presented = presentedKey(call.req);
    if (presented === null) return REFUSALS.unknownKey;
    const found = this.parts.keys.lookup(presented);
    if (!(found instanceof Promise)) return this.judge(call, found);
    return found.then(
      (principal) => this.judge(call, principal),
      (error: unknown) => {
        this.parts.onInternal(error, call.wireId);
        return REFUSALS.keysUnavailable;
      },
    );
  }

  private judge(call: ChatCall, principal: Principal | null): Refusal | null {
    call.principal = principal;
    if (principal === null) return REFUSALS.unknownKey;
    return barredBy(principal, this.parts.clock.nowMs());
  }

  private async bodyOf(call: ChatCall): Promise<Buffer | Refusal> {
    const { headers } = call.req;
    const encoding = headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') {
      return invalidRequest('content-encoding is not accepted', 'content-encoding');
    }
    const type = headers['content-type'];
    if (type === undefined || !/^application\/json *(;|$)/i.test(type)) {
      return invalidRequest('content-type must be application/json', 'content-type');
    }
    const body = await readBody(call.req);
    if (body === 'too_large') return REFUSALS.tooLarge;
    return body === 'cut' ? invalidRequest('the body ended too early', null) : body;
  }

  private refuse(call: ChatCall, refused: Refusal): void {
    const { metrics, rejections, clock } = this.parts;
    sendRefusal(call.res, call.wireId, refused);
    const { principal, requestId, modelRequested } = call;
    if (principal === null) {
      if (refused === REFUSALS.unknownKey) metrics.requestRejected('unknown_key');
      return;
    }
    const { reason } = refused;
    if (reason === null) return;
    metrics.requestRejected(reason);
    const code = refused.code ?? refused.type;
    const atMs = clock.nowMs();
    rejections.write({ requestId, principal, modelRequested, reason, code, atMs });
  }
}
