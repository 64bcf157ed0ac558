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
import { AnswerResends } from './consumers/answer-resends.js';
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
import { BacklogAlarm } from './relay/backlog-alarm.js';
import { LogEventPublisher } from './relay/log-event.publisher.js';
import { LossReporter } from './relay/loss-reporter.js';

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
  readonly resends: AnswerResends;
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
  const blocks = new BudgetBlocks(clock);
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
    random,
    onError: warn('holds could not be given back yet'),
  });
  const { relay, losses, resends } = publicationOf(options, warn);
  const lifecycle = new ProxyLifecycle({
    catalogue,
    recovery: new RecoverSpool({ spool, authority, losses }),
    relay,
    releaser,
    inFlight,
    transport: options.transport,
    clock,
    random,
    logger,
    drainMs: options.drainMs,
  });
  const serving = { keys, catalogue, authority, releaser, inFlight, lifecycle, warn };
  const handlers = handlersOf(options, serving);
  const control = new ApplyControl({ keys, blocks, catalogue });
  const owner = new LatestOwner(() => control.dropEverything());
  registerHealth(options, lifecycle, catalogue);
  return { lifecycle, handlers, catalogue, control, resends, owner };
}

/** What the handlers are made of beside the options. */
interface Serving {
  readonly keys: KeyCache;
  readonly catalogue: CatalogueSource;
  readonly authority: BudgetAuthority;
  readonly releaser: HoldReleaser;
  readonly inFlight: InFlight;
  readonly lifecycle: ProxyLifecycle;
  readonly warn: Warn;
}

function handlersOf(options: ProxyOptions, serving: Serving): DataPlaneHandlers {
  const { runtime, spool, adminApiKey, publicUrl } = options;
  const { clock, logger } = runtime;
  const { keys, catalogue, authority, releaser, inFlight, lifecycle, warn } = serving;
  const metrics = new ProxyMetrics(runtime.metrics, spool, inFlight, releaser);
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
    rejections: new RejectionJournal({
      spool,
      metrics,
      onDropped: warn('a refusal could not be written down'),
    }),
    metrics,
    isOpen: () => lifecycle.isOpen(),
  });
  return { chat, models: new ModelsHandler({ ...common, adminApiKey, publicUrl }) };
}

/** What carries the spool's events to the log, and answers those who miss some. */
function publicationOf(
  { eventLog, spool, runtime }: ProxyOptions,
  warn: Warn,
): {
  readonly relay: SpoolRelay;
  readonly losses: LossReporter;
  readonly resends: AnswerResends;
} {
  const { clock, random, logger, partitions: logPartitions } = runtime;
  const losses = new LossReporter({
    spool,
    logPartitions,
    clock,
    onLost: ({ lane, from, to }) =>
      logger.error({ lane, from: String(from), to: String(to) }, 'events of the spool are lost'),
  });
  const alarm = new BacklogAlarm(spool, logger);
  const onError = warn('events could not be published yet');
  const relay = new SpoolRelay({
    spool,
    publisher: new LogEventPublisher(eventLog, logPartitions),
    clock,
    random,
    onError: (error) => {
      onError(error);
      alarm.look();
    },
    onMissing: (ranges) => losses.report(ranges),
  });
  const resends = new AnswerResends({
    relay,
    emitterId: spool.emitterId,
    lanes: 2 * logPartitions,
    onRefused: (reason) => logger.warn(reason),
  });
  return { relay, losses, resends };
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
  const { lifecycle, handlers, catalogue, control, resends, owner } = partsOf(options);
  return [
    { provide: ProxyLifecycle, useValue: lifecycle },
    { provide: CatalogueSource, useValue: catalogue },
    { provide: ApplyControl, useValue: control },
    { provide: AnswerResends, useValue: resends },
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
