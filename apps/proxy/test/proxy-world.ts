import {
  createServer,
  type IncomingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';

import {
  BUDGET_AUTHORITY_METHODS,
  type BudgetAuthority,
  type OpenHold,
  type PlaceHoldInput,
  type PlaceHoldResult,
} from '#libs/budgets/core';
import type { EventLog } from '#libs/event-log/core';
import type { RequestCompletedV1, RequestRejectedV1 } from '#libs/events';
import { picoUsd } from '#libs/kernel';
import {
  KEY_DIRECTORY_METHODS,
  keyDigests,
  parsePeppers,
  type KeyRecord,
  type ServedCatalog,
} from '#libs/keys/core';
import { rpcService, type RpcHost } from '#libs/platform/rpc';
import { PRICE_DIRECTORY_METHODS, type PriceBook } from '#libs/pricing/core';

/** Partitions of the tests' event log. */
export const PARTITIONS = 3;
/** `KEY_PEPPERS` of the tests. */
export const PEPPERS_TEXT = `v1:${Buffer.alloc(32, 7).toString('base64')}`;
/** The same, read. */
export const PEPPERS = parsePeppers(PEPPERS_TEXT);

/** The operator secret of the tests. */
export const ADMIN_KEY = 'operator-secret-of-the-tests';

/** Keys by the string a client presents. */
export const KEYS: Readonly<Record<string, KeyRecord>> = {
  'sk-plain-key': keyRecord('00000001-0000-4000-8000-000000000001', {}),
  'sk-budgeted-key': keyRecord('00000002-0000-4000-8000-000000000002', {
    budgetIds: ['00000000-0000-4000-8000-00000000000b'],
    teamId: 'red',
  }),
  'sk-narrow-key': keyRecord('00000003-0000-4000-8000-000000000003', {
    allowedModels: ['other-*'],
  }),
  'sk-disabled-key': keyRecord('00000004-0000-4000-8000-000000000004', { enabled: false }),
  'sk-deleted-key': keyRecord('00000005-0000-4000-8000-000000000005', { deleted: true }),
  'sk-expired-key': keyRecord('00000006-0000-4000-8000-000000000006', { expiresAtMs: 1 }),
  'sk-wide-key': keyRecord('00000008-0000-4000-8000-000000000008', {
    budgetIds: ['00000000-0000-4000-8000-00000000000b'],
    userId: 'u'.repeat(20_000),
  }),
  'sk-spent-key': keyRecord('00000007-0000-4000-8000-000000000007', {
    budgetIds: ['00000000-0000-4000-8000-00000000000b'],
    block: {
      reason: 'budget',
      scope: 'team',
      budget_id: '00000000-0000-4000-8000-00000000000b',
      period: 'total',
      resets_at: null,
    },
  }),
};

function keyRecord(keyId: string, parts: Partial<KeyRecord>): KeyRecord {
  return {
    keyId,
    orgId: 'default',
    userId: 'bob',
    teamId: null,
    enabled: true,
    deleted: false,
    expiresAtMs: null,
    allowedModels: ['*'],
    block: null,
    budgetIds: [],
    rev: 1,
    ...parts,
  };
}

/** $1 per 1,000 input tokens, $2 per 1,000 output tokens. */
const PRICES: PriceBook = {
  version: 'a'.repeat(64),
  entries: ['sized', 'free-form', 'unlimited'].map((model) => ({
    priceId: Buffer.from(model).toString('hex').padEnd(64, '0'),
    sku: `sim/${model}`,
    provider: 'sim',
    model,
    conditions: { serviceTier: 'standard', inputFrom: 0, inputTo: null },
    currency: 'USD',
    effectiveFrom: '2020-01-01T00:00:00Z',
    ratesPicoUsd: { input_text: picoUsd(10n ** 9n), output_text: picoUsd(2n * 10n ** 9n) },
    source: { url: 'https://example.com', readOn: '2020-01-01' },
  })),
};

function catalogOf(baseUrl: string): ServedCatalog {
  const model = (id: string, limits: object, provider = 'sim') => ({
    id,
    aliases: id === 'sized' ? ['sized-alias'] : [],
    created: 1_700_000_000,
    limits: {
      contextTokens: null,
      maxInputTokens: null,
      maxOutputTokens: null,
      holdInputFromLimit: false,
      ...limits,
    },
    callCeilingPicoUsd: id === 'ceiling' ? 5n * 10n ** 11n : null,
    routes: [{ provider, model: `up-${id}` }],
  });
  const sized = { maxInputTokens: 100, maxOutputTokens: 50, holdInputFromLimit: true };
  return {
    digest: 'c'.repeat(64),
    models: [
      model('sized', sized),
      model('free-form', { contextTokens: 100_000, maxOutputTokens: 4_000 }),
      model('unlimited', {}),
      model('priceless', sized),
      model('ceiling', sized),
      model('no-credential', sized, 'locked'),
      model('unreachable', sized, 'nowhere'),
    ],
    providers: [
      provider('sim', baseUrl, 'SIM_CREDENTIAL'),
      provider('locked', baseUrl, 'MISSING_CREDENTIAL'),
      provider('nowhere', 'http://127.0.0.1:1', null),
    ],
  };
}

function provider(name: string, baseUrl: string, credentialEnv: string | null) {
  return { name, type: 'sim', baseUrl, credentialEnv, usageInStream: 'inject' as const };
}

/**
 * How long the upstream keeps an idle connection, milliseconds: a test that is held up must not send into
 * one that is being closed, which is a cut.
 */
const KEEP_ALIVE_MS = 600_000;

/** A request as the upstream saw it. */
export interface SeenRequest {
  readonly headers: IncomingHttpHeaders;
  readonly body: Record<string, unknown>;
}

/** An upstream whose next answers the test writes. */
export class ScriptedUpstream {
  readonly seen: SeenRequest[] = [];
  answer: (res: ServerResponse, request: SeenRequest) => void = (res) => sendUsage(res, 10, 5);
  private server!: Server;

  async start(): Promise<string> {
    this.server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (req, res) => {
      const chunks: Buffer[] = [];
      req.on('data', (chunk: Buffer) => chunks.push(chunk));
      req.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const request = { headers: req.headers, body: JSON.parse(text) as Record<string, unknown> };
        this.seen.push(request);
        this.answer(res, request);
      });
    });
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** A plain answer with usage. */
export function sendUsage(res: ServerResponse, input: number, output: number): void {
  const usage = { prompt_tokens: input, completion_tokens: output, total_tokens: input + output };
  const choices = [
    { index: 0, message: { role: 'assistant', content: 'hi' }, finish_reason: 'stop' },
  ];
  sendJson(res, 200, { id: 'c1', object: 'chat.completion', model: 'served-1', choices, usage });
}

/** Any JSON answer. */
export function sendJson(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { 'content-type': 'application/json', 'x-request-id': 'up-1' });
  res.end(JSON.stringify(body));
}

/**
 * A budget authority for one limit in memory, with the same rule as the real one: settled + held +
 * wanted <= limit, else as much as is left if it is at least the least.
 */
export class OneBudget implements Pick<
  BudgetAuthority,
  'placeHolds' | 'releaseHolds' | 'listHolds'
> {
  readonly held = new Map<string, bigint>();
  readonly released: string[] = [];
  readonly calls: (readonly PlaceHoldInput[])[] = [];
  limitPicoUsd = 10n ** 18n;
  settledPicoUsd = 0n;
  failure: Error | null = null;

  async placeHolds(_emitter: string, holds: readonly PlaceHoldInput[]): Promise<PlaceHoldResult[]> {
    this.calls.push(holds);
    if (this.failure !== null) throw this.failure;
    return holds.map((hold) => this.place(hold));
  }

  private place({ holdId, wantPicoUsd, leastPicoUsd }: PlaceHoldInput): PlaceHoldResult {
    const held = [...this.held.values()].reduce((sum, amount) => sum + amount, 0n);
    const left = this.limitPicoUsd - this.settledPicoUsd - held;
    const budgetId = '00000000-0000-4000-8000-00000000000b';
    if (left < leastPicoUsd) {
      const isReserved = left + held >= leastPicoUsd;
      return {
        holdId,
        outcome: 'refused',
        reason: isReserved ? 'budget_reserved' : 'budget_exceeded',
        exhausted: !isReserved && left + held <= 0n,
        budgetId,
        scope: 'team',
        period: 'total',
        resetsAt: null,
        retryAfterMs: 1_500,
      };
    }
    const amount = left < wantPicoUsd ? left : wantPicoUsd;
    this.held.set(holdId, amount);
    const budgets = [{ budget_id: budgetId, epoch: 1 }];
    return { holdId, outcome: 'held', amountPicoUsd: picoUsd(amount), budgets };
  }

  async releaseHolds(_emitter: string, holdIds: readonly string[]): Promise<void> {
    if (this.failure !== null) throw this.failure;
    for (const holdId of holdIds) if (this.held.delete(holdId)) this.released.push(holdId);
  }

  async listHolds(_emitter: string, after: string | null): Promise<OpenHold[]> {
    return [...this.held]
      .filter(([holdId]) => after === null || holdId > after)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([holdId, amount]) => ({ holdId, amountPicoUsd: picoUsd(amount) }));
  }
}

/** The events of a proxy as the log has them. */
export interface LoggedEvent {
  readonly headers: Readonly<Record<string, string>>;
  readonly data: RequestCompletedV1 & RequestRejectedV1;
}

/** Every event of a topic, partition by partition. */
export async function loggedEvents(log: EventLog, topic: string): Promise<LoggedEvent[]> {
  const events: LoggedEvent[] = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const limit = { maxRecords: 1_000, maxBytes: 10_000_000 };
    let from = 0n;
    for (;;) {
      const records = await log.read(topic, partition, from, limit);
      if (records.length === 0) break;
      from = records.at(-1)!.offset + 1n;
      for (const { headers, value } of records) {
        events.push({ headers, data: JSON.parse(Buffer.from(value).toString()) });
      }
    }
  }
  return events;
}

/** Auth and budgets by hand: what the proxy reaches over RPC. */
export class ProxyServices {
  readonly budget = new OneBudget();
  readonly keys = new Map(
    Object.entries(KEYS).map(([presented, record]) => [keyDigests(PEPPERS, presented)[0]!, record]),
  );
  lookups = 0;

  /** Offers them to a host, and returns it. @param upstreamUrl where the catalogue's provider answers */
  offerTo<T extends RpcHost>(rpc: T, upstreamUrl: () => string): T {
    const keys = {
      findByDigest: async (digests: readonly string[]) => {
        this.lookups++;
        return digests.map((digest) => this.keys.get(digest)).find((found) => found) ?? null;
      },
      findByIds: async () => [],
      catalog: async () => catalogOf(upstreamUrl()),
    };
    const prices = { currentBook: async () => PRICES, findEntry: async () => null };
    const budget = this.budget as unknown as BudgetAuthority;
    rpc.expose(rpcService('auth.keys', keys, KEY_DIRECTORY_METHODS));
    rpc.expose(rpcService('auth.prices', prices, PRICE_DIRECTORY_METHODS));
    const offered = BUDGET_AUTHORITY_METHODS.filter((method) => method in budget);
    rpc.expose(rpcService('budget', budget, offered));
    return rpc;
  }
}
