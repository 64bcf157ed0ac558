import { parsePeppers } from '#libs/keys/core';
import { ClickHouseEngine } from '#libs/platform/clickhouse';
import { loadConfig, processEnvironment } from '#libs/platform/config';
import { runService, type ServiceProcess } from '#libs/platform/http';
import { HttpRpcTransport, registerRpcRoutes, RpcServices } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';
import { ClickHouseUsageReader } from '#libs/usage/adapters';

import { ReportingConfig } from './reporting.config.js';
import { ReportingModule } from './reporting.module.js';

/** Longest call to another service, milliseconds; figures wait for it before they are read. */
const RPC_TIMEOUT_MS = 5_000;

/** Runs reporting as a process of its own. */
export function run(): Promise<void> {
  return runService('reporting', () =>
    reportingProcess(
      loadConfig(ReportingConfig, processEnvironment(), { ownPrefixes: ['REPORTING_'] }),
    ),
  );
}

function reportingProcess(config: ReportingConfig): ServiceProcess {
  const { adminApiKey, orgId, metricsToken, serviceSecret, logLevel } = config;
  const peppers = parsePeppers(config.keyPeppers);
  const runtime = createRuntime({
    service: 'reporting',
    partitions: config.logPartitions,
    logLevel,
  });
  const target = { kind: 'server', url: config.clickhouseUrl } as const;
  const reader = new ClickHouseUsageReader(new ClickHouseEngine({ target }));
  const rpc = new HttpRpcTransport({
    baseUrls: { auth: config.authUrl, metering: config.meteringUrl },
    secret: serviceSecret,
    timeoutMs: RPC_TIMEOUT_MS,
  });
  const host = new RpcServices();
  return {
    runtime,
    config,
    module: ReportingModule.register({ runtime, rpc, host, reader, adminApiKey, orgId, peppers }),
    operational: { serviceName: 'reporting', adminApiKey, metricsToken },
    routes: (fastify) => registerRpcRoutes(fastify, host, serviceSecret),
    close: [() => reader.close(), () => rpc.close()],
  };
}
