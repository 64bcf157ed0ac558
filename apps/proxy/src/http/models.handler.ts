import type { IncomingMessage, ServerResponse } from 'node:http';

import { hasSecret } from '#libs/platform/http';

import { barredBy } from '../admission/admission.js';
import type { CatalogueEntry } from '../admission/catalogue.js';
import { admitsModel, type Principal } from '../admission/principal.js';
import { hasQueryKey, presentedKey } from './credentials.js';
import { REFUSALS, sendRefusal, type Refusal } from './refusal.js';
import type { ChatHandlerParts } from './chat.handler.js';

/** What the handler needs beside the chat handler's parts. */
export interface ModelsHandlerParts extends Pick<
  ChatHandlerParts,
  'keys' | 'catalogue' | 'clock' | 'onInternal'
> {
  /** The operator secret; null = the scheme is disabled. */
  readonly adminApiKey: string | null;
  /** `<publicUrl>/v1/chat/completions` reaches the models. */
  readonly publicUrl: () => string;
}

/** `GET /v1/models`: what a key may use, or everything for the operator. */
export class ModelsHandler {
  constructor(private readonly parts: ModelsHandlerParts) {}

  /** Serves one request; never throws. */
  async handle(req: IncomingMessage, res: ServerResponse, wireId: string): Promise<void> {
    try {
      const answer = await this.list(req);
      if (typeof answer !== 'string') return sendRefusal(res, wireId, answer);
      const length = String(Buffer.byteLength(answer));
      res.writeHead(200, [
        'content-type',
        'application/json',
        'content-length',
        length,
        'x-request-id',
        wireId,
      ]);
      res.end(answer);
    } catch (error) {
      this.parts.onInternal(error, wireId);
      sendRefusal(res, wireId, REFUSALS.keysUnavailable);
    }
  }

  private async list(req: IncomingMessage): Promise<string | Refusal> {
    const isOperator = hasSecret(req.headers.authorization, ['ADMIN'], this.parts.adminApiKey);
    const reader = isOperator ? null : await this.reader(req);
    if (reader !== null && 'status' in reader) return reader;
    const catalogue = this.parts.catalogue.current();
    if (catalogue === null) return REFUSALS.starting;
    const url = this.parts.publicUrl();
    const data = catalogue.models
      .filter(({ names }) => reader === null || admitsModel(reader, names))
      .map((entry) => itemOf(entry, url));
    return JSON.stringify({ object: 'list', data });
  }

  private async reader(req: IncomingMessage): Promise<Principal | Refusal> {
    if (hasQueryKey(req.url ?? '')) return REFUSALS.unknownKey;
    const presented = presentedKey(req);
    const principal = presented === null ? null : await this.parts.keys.lookup(presented);
    if (principal === null) return REFUSALS.unknownKey;
    const barred = barredBy(principal, this.parts.clock.nowMs());
    // A spent budget hides nothing that can be read.
    return barred === null || barred.code === 'budget_exceeded' ? principal : barred;
  }
}

function itemOf({ model }: CatalogueEntry, url: string): object {
  const ownedBy = model.routes[0]?.provider ?? '';
  return { id: model.id, created: model.created, object: 'model', owned_by: ownedBy, url };
}
