import type { INestApplication, INestMicroservice } from '@nestjs/common';
import { Catch, type RpcExceptionFilter } from '@nestjs/common';
import { BaseRpcContext, Server, type CustomTransportStrategy } from '@nestjs/microservices';
import { isObservable, lastValueFrom, throwError, type Observable } from 'rxjs';
import { AppError } from '#libs/kernel';
import type {
  EventLog,
  LogBatch,
  LogSubscription,
  PartitionOwner,
  SubscribeOptions,
} from '../../../core/src/index.js';
import { LogLagMetrics } from './log-lag-metrics.js';
import { RetentionWatch, type RetentionRuntime } from './retention-watch.js';

/** Bounds of the batches of one topic. */
export type BatchLimits = Pick<SubscribeOptions, 'maxRecords' | 'maxBytes' | 'lingerMs'>;

/** How a service consumes the event log through Nest. */
export interface EventLogServerOptions {
  /** Tells the handlers of this server from those of others in one application. */
  readonly transportId: symbol;
  readonly eventLog: EventLog;
  /** Members with the same name share the partitions; one group `<group>.<topic>` per topic. */
  readonly group: string;
  readonly owner: PartitionOwner;
  readonly onError: SubscribeOptions['onError'];
  /** Where the lag of the partitions held is shown, and the alarm about their retention raised. */
  readonly runtime: RetentionRuntime;
  /** For topics without limits of their own. @default 500 records, 4 MiB, no linger */
  readonly limits?: BatchLimits;
  readonly topicLimits?: Readonly<Record<string, BatchLimits>>;
  /** Partitions of topics that this process holds from start to stop, whatever the group deals. */
  readonly fixedPartitions?: Readonly<Record<string, readonly number[]>>;
}

const DEFAULT_LIMITS: BatchLimits = {
  maxRecords: 500,
  maxBytes: 4 * 1024 * 1024,
  lingerMs: () => 0,
};

type Handler = (batch: LogBatch, context: BaseRpcContext) => Promise<unknown>;

/**
 * Hands whole batches of the event log to `@EventPattern('<topic>', transportId)` methods. The
 * method resolves the batch after its own transaction; when it throws, or does not resolve, the
 * batch comes again. One method per topic.
 */
export class EventLogServer extends Server implements CustomTransportStrategy {
  override readonly transportId: symbol;
  override readonly propagatesEventHandlerErrors = true;
  private subscriptions: LogSubscription[] = [];
  private unwatch: (() => void)[] = [];
  private readonly retention: RetentionWatch;

  constructor(private readonly options: EventLogServerOptions) {
    super();
    this.transportId = options.transportId;
    const { eventLog, runtime, group } = options;
    this.retention = new RetentionWatch(eventLog, runtime, group, () => this.subscriptions);
  }

  /** Subscribes to the topics that have handlers. */
  listen(callback: (error?: unknown) => void): void {
    this.retention.start();
    const { runtime, group } = this.options;
    this.unwatch.push(runtime.health.note(`event_log.${group}.read`, () => this.unreadable()));
    this.subscribeAll().then(() => callback(), callback);
  }

  /** Finishes the batches in hand and leaves the groups. Idempotent. */
  async close(): Promise<void> {
    const subscriptions = this.subscriptions;
    this.retention.stop();
    this.subscriptions = [];
    for (const forget of this.unwatch.splice(0)) forget();
    await Promise.all(subscriptions.map((subscription) => subscription.stop()));
  }

  /** @throws always: a log has no events of its own */
  on(): never {
    throw new TypeError('the event log has no events of its own');
  }

  /** The event log itself. */
  unwrap<T>(): T {
    return this.options.eventLog as T;
  }

  /** What readiness says of partitions that the log does not give; null when it gives all. */
  private unreadable(): string | null {
    const found = this.subscriptions
      .flatMap((subscription) => subscription.lag())
      .filter(({ unreadable }) => unreadable !== null)
      .map(({ topic, partition, unreadable }) => `${topic}/${partition} (${unreadable})`);
    return found.length === 0 ? null : `partitions that cannot be read: ${found.join(', ')}`;
  }

  private async subscribeAll(): Promise<void> {
    for (const [topic, handler] of this.messageHandlers) {
      if (handler.next !== undefined) throw ambiguous(topic);
      const subscription = await this.subscribe(topic, handler as unknown as Handler);
      this.subscriptions.push(subscription);
      const { group, runtime } = this.options;
      const metrics = LogLagMetrics.of(runtime.metrics, runtime.clock);
      this.unwatch.push(metrics.watch(group, subscription));
    }
  }

  private subscribe(topic: string, handler: Handler): Promise<LogSubscription> {
    const { eventLog, group, owner, onError, topicLimits, limits = DEFAULT_LIMITS } = this.options;
    const fixedPartitions = this.options.fixedPartitions?.[topic];
    return eventLog.subscribe({
      group: `${group}.${topic}`,
      topics: [topic],
      owner,
      onError,
      ...(topicLimits?.[topic] ?? limits),
      ...(fixedPartitions !== undefined && { fixedPartitions }),
      handle: async (batch) => {
        const result = await handler(batch, new BaseRpcContext([topic, batch.partition]));
        // Nest turns what a handler throws into a stream that fails; nobody else looks at it.
        if (isObservable(result)) await lastValueFrom(result, { defaultValue: undefined });
      },
    });
  }
}

function ambiguous(topic: string): AppError {
  return new AppError({
    code: 'event_log.two_handlers',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `two handlers for topic ${topic}: which of them would own the offset?`,
  });
}

/** Passes an error on as it is; Nest's own filter would replace and log it. */
@Catch()
class PassOnFilter implements RpcExceptionFilter {
  catch(error: unknown): Observable<never> {
    return throwError(() => error);
  }
}

/** Steps that Nest itself does at once when it connects a microservice, before filters can be set. */
interface DeferredMicroservice extends INestMicroservice {
  registerListeners(): void;
  setIsInitialized(isInitialized: boolean): void;
  setIsInitHookCalled(isInitHookCalled: boolean): void;
}

/**
 * Adds a server to an application whose modules are loaded. `app.startAllMicroservices()` starts
 * it; stop it with `server.close()` before the application closes what the handlers use.
 */
export function connectEventLog(app: INestApplication, server: EventLogServer): void {
  const microservice = app.connectMicroservice(
    { strategy: server },
    { inheritAppConfig: false, deferInitialization: true },
  ) as DeferredMicroservice;
  microservice.useGlobalFilters(new PassOnFilter());
  microservice.registerListeners();
  microservice.setIsInitialized(true);
  microservice.setIsInitHookCalled(true);
}
