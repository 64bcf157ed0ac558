import { Module, type DynamicModule, type OnModuleInit, type Provider } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { FastifyInstance } from 'fastify';

import { BUDGET_AUTHORITY_METHODS, type BudgetAuthority } from '#libs/budgets/core';
import { KEY_DIRECTORY_METHODS, KEY_DIRECTORY_SERVICE, type KeyDirectory } from '#libs/keys/core';
import { rpcClient } from '#libs/platform/rpc';
import { PRICE_DIRECTORY_METHODS, type PriceDirectory } from '#libs/pricing/core';
import { SpoolRelay } from '#libs/spool/core';

import { BudgetBlocks } from './admission/budget-blocks.js';
import { CatalogueSource } from './admission/catalogue-source.js';
import { HoldReleaser } from './admission/hold-releaser.js';
import { DirectHoldSource } from './admission/hold-source.js';
import { KeyCache } from './admission/key-cache.js';
import { AttemptSender } from './attempt/attempt-sender.js';
import { InFlight } from './attempt/drains.js';
import { ApplyControl } from './consumers/apply-control.js';
import { LatestOwner } from './consumers/latest-owner.js';
import { ProxyConsumer } from './consumers/proxy.consumer.js';
import { describeError } from './describe-error.js';
import { ChatHandler } from './http/chat.handler.js';
import { registerDataPlane, type DataPlaneHandlers } from './http/data-plane.js';
import { ModelsHandler } from './http/models.handler.js';
import { RejectionJournal } from './http/rejections.js';
import { ProxyMetrics } from './metrics/proxy-metrics.js';
import { ProxyLifecycle } from './proxy-lifecycle.js';
import type { ProxyOptions } from './proxy-options.js';
import { RecoverSpool } from './recovery/recover-spool.use-case.js';
import { LogEventPublisher } from './relay/log-event.publisher.js';

/** The name under which budget-enforcer offers `BudgetAuthority`. */
const BUDGET_SERVICE = 'budget';
/** The name under which auth offers `PriceDirectory`. */
const PRICE_SERVICE = 'auth.prices';

/** The objects of the proxy, wired by hand: none of them knows the framework. */
interface ProxyParts {
  readonly lifecycle: ProxyLifecycle;
  readonly handlers: DataPlaneHandlers;
  readonly catalogue: CatalogueSource;
  readonly control: ApplyControl;
  readonly owner: LatestOwner;
}

type Warn = (message: string) => (error: unknown) => void;

function partsOf(options: ProxyOptions): ProxyParts {
  const { runtime, rpc, spool } = options;
  const { clock, random, logger, partitions: logPartitions } = runtime;
  const warn: Warn = (message) => (error) => logger.warn({ reason: describeError(error) }, message);
  const directory = rpcClient<KeyDirectory>(rpc, KEY_DIRECTORY_SERVICE, KEY_DIRECTORY_METHODS);
  const prices = rpcClient<PriceDirectory>(rpc, PRICE_SERVICE, PRICE_DIRECTORY_METHODS);
  const authority = rpcClient<BudgetAuthority>(rpc, BUDGET_SERVICE, BUDGET_AUTHORITY_METHODS);
  const inFlight = new InFlight();
  const metrics = new ProxyMetrics(runtime.metrics, spool, inFlight);
  const blocks = new BudgetBlocks();
  const keys = new KeyCache({
    directory,
    peppers: options.peppers,
    blocks,
    clock,
    logPartitions,
    onRefreshError: warn('a key could not be refreshed'),
  });
  const catalogue = new CatalogueSource({
    keys: directory,
    prices,
    credentialOf: options.credentialOf,
    clock,
    random,
    onError: warn('catalogue or prices could not be fetched'),
  });
  const releaser = new HoldReleaser({
    authority,
    emitterId: spool.emitterId,
    clock,
    random,
    onError: warn('holds could not be given back yet'),
  });
  const lifecycle = new ProxyLifecycle({
    catalogue,
    recovery: new RecoverSpool({ spool, authority }),
    relay: relayOf(options, warn),
    releaser,
    inFlight,
    clock,
    random,
    logger,
    drainMs: options.drainMs,
  });
  const sender = new AttemptSender({
    holds: new DirectHoldSource(authority, spool.emitterId, releaser),
    spool,
    transport: options.transport,
    exchange: { spool, clock, inFlight, metrics, onLost: warn('a record could not be written') },
    clock,
  });
  const onInternal = (error: unknown, wireId: string): void =>
    logger.error({ request_id: wireId, reason: describeError(error) }, 'a request failed inside');
  const common = { keys, catalogue, clock, onInternal };
  const chat = new ChatHandler({
    ...common,
    spool,
    sender,
    rejections: new RejectionJournal(spool, warn('a refusal could not be written down')),
    metrics,
    isOpen: () => lifecycle.isOpen(),
  });
  const { adminApiKey, publicUrl } = options;
  const models = new ModelsHandler({ ...common, adminApiKey, publicUrl });
  const control = new ApplyControl({ keys, blocks, catalogue });
  const owner = new LatestOwner(() => control.dropEverything());
  registerHealth(options, lifecycle, catalogue);
  return { lifecycle, handlers: { chat, models }, catalogue, control, owner };
}

function relayOf({ eventLog, spool, runtime }: ProxyOptions, warn: Warn): SpoolRelay {
  const { clock, random, partitions } = runtime;
  const publisher = new LogEventPublisher(eventLog, partitions);
  const onError = warn('events could not be published yet');
  return new SpoolRelay({ spool, publisher, clock, random, onError });
}

function registerHealth(
  { runtime, spool }: ProxyOptions,
  lifecycle: ProxyLifecycle,
  catalogue: CatalogueSource,
): void {
  runtime.health.register('spool', async () => {
    const health = spool.health();
    if (health !== 'ok') throw new Error(health);
  });
  runtime.health.register('catalogue', async () => {
    if (catalogue.current() === null) throw new Error('catalogue and prices are not loaded');
  });
  runtime.health.register('recovery', async () => {
    if (!lifecycle.isOpen()) throw new Error('recovery is not done');
  });
}

/** Registers the data plane on the bare server once the application knows it. */
class DataPlaneRoutes implements OnModuleInit {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly handlers: DataPlaneHandlers,
  ) {}

  onModuleInit(): void {
    const fastify = this.host.httpAdapter.getInstance<FastifyInstance>();
    registerDataPlane(fastify, this.handlers);
  }
}

function providersOf(options: ProxyOptions): Provider[] {
  const { lifecycle, handlers, catalogue, control, owner } = partsOf(options);
  return [
    { provide: ProxyLifecycle, useValue: lifecycle },
    { provide: CatalogueSource, useValue: catalogue },
    { provide: ApplyControl, useValue: control },
    { provide: LatestOwner, useValue: owner },
    {
      provide: DataPlaneRoutes,
      useFactory: (host: HttpAdapterHost) => new DataPlaneRoutes(host, handlers),
      inject: [HttpAdapterHost],
    },
  ];
}

/** The proxy: admits, holds, forwards, and records every attempt. */
@Module({})
export class ProxyModule {
  /** @param options infrastructure that outlives the module */
  static register(options: ProxyOptions): DynamicModule {
    return {
      module: ProxyModule,
      controllers: [ProxyConsumer],
      providers: providersOf(options),
      exports: [ProxyLifecycle, LatestOwner],
    };
  }
}
