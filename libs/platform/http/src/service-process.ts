import type { DynamicModule } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';

import { AppError, messageOf } from '#libs/kernel';
import { ConfigError, describeConfig, EXIT_CONFIG } from '#libs/platform/config';
import type { Runtime } from '#libs/platform/telemetry';

import { createHttpApp } from './http-app.js';
import type { OperationalOptions } from './operational.routes.js';

/** What a service is as a process of its own. */
export interface ServiceProcess {
  readonly runtime: Runtime;
  /** Printed at start, secrets as fingerprints. */
  readonly config: object & { readonly host: string; readonly port: number };
  readonly module: DynamicModule;
  readonly operational: OperationalOptions;
  /** Adds routes beside the module's own, before the first request. */
  readonly routes?: (fastify: FastifyInstance) => void;
  /** Connects the consumers of the event log; closed before the application is. */
  readonly connect?: (app: NestFastifyApplication) => { close(): Promise<void> };
  /** Waits for what must be done before the first request. */
  readonly ready?: (app: NestFastifyApplication) => Promise<void>;
  /** Told the address once the process listens. */
  readonly listening?: (url: string) => void;
  /** Closes what was opened for the module, in this order, after the application. */
  readonly close: readonly (() => Promise<void>)[];
}

/**
 * Runs a service until SIGINT or SIGTERM. Prints `<name> listening on <url>` when it serves.
 * Exit codes: 0 stopped, 1 an engine or the port cannot be had, 2 faulty configuration.
 * @param exitCodes further exit codes by the code of the error that prevents the start
 */
export async function runService(
  name: string,
  build: () => ServiceProcess | Promise<ServiceProcess>,
  exitCodes: Readonly<Record<string, number>> = {},
): Promise<void> {
  try {
    const service = await build();
    const { url, stop } = await serve(service);
    stopOnSignal(name, stop);
    // Last: whoever reads the line may send a signal at once.
    process.stdout.write(`${name} listening on ${url}\n`);
  } catch (error) {
    process.stderr.write(`${name}: ${messageOf(error)}\n`);
    const ownCode = error instanceof AppError ? exitCodes[error.code] : undefined;
    process.exit(error instanceof ConfigError ? EXIT_CONFIG : (ownCode ?? 1));
  }
}

async function serve(
  service: ServiceProcess,
): Promise<{ readonly url: string; readonly stop: () => Promise<void> }> {
  const { runtime, config } = service;
  runtime.logger.info({ config: describeConfig(config) }, 'effective configuration');
  const app = await createHttpApp(service.module, runtime, service.operational);
  service.routes?.(app.getHttpAdapter().getInstance() as unknown as FastifyInstance);
  const consumer = service.connect?.(app);
  await app.init();
  await app.startAllMicroservices();
  await service.ready?.(app);
  await app.listen(config.port, config.host);
  const url = await app.getUrl();
  service.listening?.(url);
  const stop = async (): Promise<void> => {
    runtime.health.drain();
    await consumer?.close();
    await app.close();
    for (const close of service.close) await close();
  };
  return { url, stop };
}

function stopOnSignal(name: string, stop: () => Promise<void>): void {
  let stopping: Promise<void> | undefined;
  const onSignal = (): void => {
    if (stopping !== undefined) process.exit(1);
    stopping = stop().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${name}: ${messageOf(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}
