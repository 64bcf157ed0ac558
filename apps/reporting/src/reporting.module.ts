import { Module, type DynamicModule } from '@nestjs/common';

import { Clock } from '#libs/kernel';
import { KEY_DIRECTORY_METHODS, KEY_DIRECTORY_SERVICE, KeyDirectory } from '#libs/keys/core';
import type { Peppers } from '#libs/keys/core';
import { rpcClient, rpcService, type RpcHost, type RpcTransport } from '#libs/platform/rpc';
import type { Runtime } from '#libs/platform/telemetry';
import {
  KEY_ACTIVITY_METHODS,
  KEY_ACTIVITY_SERVICE,
  METERING_PROGRESS_METHODS,
  METERING_PROGRESS_SERVICE,
  MeteringProgress,
  UsageReader,
} from '#libs/usage/core';

import { CALLER_CREDENTIALS, CallerGuard, type CallerCredentials } from './http/caller.guard.js';
import { UsageController } from './http/usage.controller.js';

/** What reporting is built from; whoever builds it closes it. */
export interface ReportingOptions {
  readonly runtime: Runtime;
  readonly rpc: RpcTransport;
  readonly host: RpcHost;
  readonly reader: UsageReader;
  /** The operator secret; null = the scheme is disabled. */
  readonly adminApiKey: string | null;
  /** The organisation whose rows are shown. */
  readonly orgId: string;
  /** Live peppers of the key index, newest first. */
  readonly peppers: Peppers;
}

/** Figures over HTTP and, for other services, the activity of keys. */
@Module({})
export class ReportingModule {
  /** Registers the readiness check `usage_reader` and offers `reporting.activity`. */
  static register(options: ReportingOptions): DynamicModule {
    const { runtime, rpc, host, reader } = options;
    const credentials: CallerCredentials = {
      adminApiKey: options.adminApiKey,
      orgId: options.orgId,
      peppers: options.peppers,
    };
    runtime.health.register('usage_reader', () => reader.ping());
    host.expose(rpcService<UsageReader>(KEY_ACTIVITY_SERVICE, reader, KEY_ACTIVITY_METHODS));
    return {
      module: ReportingModule,
      controllers: [UsageController],
      providers: [
        CallerGuard,
        { provide: Clock, useValue: runtime.clock },
        { provide: UsageReader, useValue: reader },
        { provide: CALLER_CREDENTIALS, useValue: credentials },
        {
          provide: KeyDirectory,
          useValue: rpcClient<KeyDirectory>(rpc, KEY_DIRECTORY_SERVICE, KEY_DIRECTORY_METHODS),
        },
        {
          provide: MeteringProgress,
          useValue: rpcClient<MeteringProgress>(
            rpc,
            METERING_PROGRESS_SERVICE,
            METERING_PROGRESS_METHODS,
          ),
        },
      ],
    };
  }
}
