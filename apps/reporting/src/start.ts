import type { FastifyInstance } from 'fastify';

import { messageOf } from '#libs/kernel';
import { readPeppers } from '#libs/keys/core';
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import {
  ConfigError,
  describeConfig,
  EXIT_CONFIG,
  loadConfig,
  processEnvironment,
} from '#libs/platform/config';
import { createHttpApp } from '#libs/platform/http';
import { HttpRpcTransport, registerRpcRoutes, RpcServices } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';
import { ClickHouseUsageReader } from '#libs/usage/adapters';

import { ReportingConfig } from './reporting.config.js';
import { ReportingModule } from './reporting.module.js';

/** Longest call to another service, milliseconds; figures wait for it before they are read. */
const RPC_TIMEOUT_MS = 5_000;

/**
 * Runs reporting until SIGINT or SIGTERM. Prints `reporting listening on <url>` when it serves.
 * Exit codes: 0 stopped, 1 the port cannot be had, 2 faulty configuration.
 */
export async function run(): Promise<void> {
  try {
    await serve(loadConfig(ReportingConfig, processEnvironment(), { ownPrefixes: ['REPORTING_'] }));
  } catch (error) {
    process.stderr.write(`reporting: ${messageOf(error)}\n`);
    process.exitCode = error instanceof ConfigError ? EXIT_CONFIG : 1;
  }
}

async function serve(config: ReportingConfig): Promise<void> {
  const { peppers, faults } = readPeppers(config.keyPeppers);
  if (peppers === null) throw new ConfigError(faults.map((fault) => `KEY_PEPPERS ${fault}`));
  const runtime = createRuntime({
    service: 'reporting',
    partitions: config.logPartitions,
    logLevel: config.logLevel,
  });
  runtime.logger.info({ config: describeConfig(config) }, 'effective configuration');
  const target = { kind: 'server', url: config.clickhouseUrl } as const;
  const reader = new ClickHouseUsageReader(new ClickHouseEngine({ target }));
  const rpc = new HttpRpcTransport({
    baseUrls: { auth: config.authUrl, metering: config.meteringUrl },
    secret: config.serviceSecret,
    timeoutMs: RPC_TIMEOUT_MS,
  });
  const services = new RpcServices();
  const { adminApiKey, orgId, metricsToken } = config;
  const app = await createHttpApp(
    ReportingModule.register({ runtime, rpc, host: services, reader, adminApiKey, orgId, peppers }),
    runtime,
    { serviceName: 'reporting', adminApiKey, metricsToken },
  );
  const fastify = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  registerRpcRoutes(fastify, services, config.serviceSecret);
  await app.listen(config.port, config.host);
  process.stdout.write(`reporting listening on ${await app.getUrl()}\n`);
  const stop = async (): Promise<void> => {
    runtime.health.drain();
    await app.close();
    await reader.close();
    await rpc.close();
  };
  process.once('SIGINT', () => void stop());
  process.once('SIGTERM', () => void stop());
}
