import type { DynamicModule } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';

import { AppError, messageOf, untilEngineAnswers, type NeededEngine } from '#libs/kernel';
import { ConfigError, describeConfig, EXIT_CONFIG } from '#libs/platform/config';
import type { Runtime } from '#libs/platform/telemetry';

import { createHttpApp } from './http-app.js';
import type { OperationalOptions } from './operational.routes.js';

/** What a service is as a process of its own. */
export interface ServiceProcess {
  readonly runtime: Runtime;
  /** Printed at start, secrets as fingerprints. */
  readonly config: object & { readonly host: string; readonly port: number };
  /** What the module cannot start without, each waited for in turn. @default none */
  readonly needs?: readonly NeededEngine[];
  readonly module: DynamicModule;
  readonly operational: OperationalOptions;
  /** Adds routes beside the module's own, before the first request. */
  readonly routes?: (fastify: FastifyInstance) => void;
  /** Connects the consumers of the event log; closed before the application is. */
  readonly connect?: (app: NestFastifyApplication) => { close(): Promise<void> };
  /** Waits for what must be done before the service does its work; it listens, and says so, before. */
  readonly ready?: (app: NestFastifyApplication) => Promise<void>;
  /** Told the address once the process listens. */
  readonly listening?: (url: string) => void;
  /** Closes what was opened for the module, in this order, after the application. */
  readonly close: readonly (() => Promise<void>)[];
}

/**
 * Runs a service until SIGINT or SIGTERM. It waits for the engines that it needs, and listens as soon as
 * its module has started, so that health can be asked for; prints `<name> listening on <url>` when it does its work.
 * Exit codes: 0 stopped, 1 an engine or the port cannot be had, 2 faulty configuration.
 * @param exitCodes further exit codes by the code of the error that prevents the start
 */
export async function runService(
  name: string,
  build: () => ServiceProcess | Promise<ServiceProcess>,
  exitCodes: Readonly<Record<string, number>> = {},
): Promise<void> {
  const end = new OrderlyEnd(name);
  try {
    const service = await build();
    const url = await serve(service, end);
    // Last: whoever reads the line may send a signal at once.
    if (!end.hasBegun) process.stdout.write(`${name} listening on ${url}\n`);
  } catch (error) {
    // Whatever breaks off because of the end is no fault of the start.
    if (end.hasBegun) return;
    process.stderr.write(`${name}: ${messageOf(error)}\n`);
    const ownCode = error instanceof AppError ? exitCodes[error.code] : undefined;
    process.exit(error instanceof ConfigError ? EXIT_CONFIG : (ownCode ?? 1));
  }
}

/** @returns the address */
async function serve(service: ServiceProcess, end: OrderlyEnd): Promise<string> {
  const { runtime, config } = service;
  runtime.logger.info({ config: describeConfig(config) }, 'effective configuration');
  for (const engine of service.needs ?? []) await untilEngineAnswers(engine, runtime);
  const app = await createHttpApp(service.module, runtime, service.operational);
  service.routes?.(app.getHttpAdapter().getInstance() as unknown as FastifyInstance);
  const consumer = service.connect?.(app);
  await app.init();
  await app.startAllMicroservices();
  await app.listen(config.port, config.host);
  const url = await app.getUrl();
  service.listening?.(url);
  end.isBy(async () => {
    runtime.health.drain();
    await consumer?.close();
    await app.close();
    for (const close of service.close) await close();
  });
  await service.ready?.(app);
  return url;
}

/**
 * The end of a process by signal. Before it serves there is nothing to finish: it ends at once, also
 * as the first process of a container, whose signals have no effect of their own. Afterwards the
 * first signal ends it in order, the second at once.
 */
class OrderlyEnd {
  private stop: (() => Promise<void>) | null = null;
  private isStopping = false;

  constructor(private readonly name: string) {
    process.on('SIGINT', this.onSignal);
    process.on('SIGTERM', this.onSignal);
  }

  get hasBegun(): boolean {
    return this.isStopping;
  }

  /** What ends the process in order from now on. */
  isBy(stop: () => Promise<void>): void {
    this.stop = stop;
  }

  private readonly onSignal = (): void => {
    if (this.isStopping) process.exit(1);
    this.isStopping = true;
    if (this.stop === null) process.exit(0);
    this.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${this.name}: ${messageOf(error)}\n`);
        process.exit(1);
      },
    );
  };
}
