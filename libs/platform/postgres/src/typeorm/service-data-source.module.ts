import { Module, type DynamicModule } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource, EntitySchema } from 'typeorm';

import { roleOf, type SchemaName } from '../schemas.js';
import { ServiceDataSource } from './service-data-source.js';

/** What a service's entities need. */
export interface ServiceDataSourceOptions {
  readonly url: string;
  /** Its role is taken by every connection; it is the search path and the name of the data source. */
  readonly schema: SchemaName;
  /** Every entity class of the schema, listed. */
  readonly entities: readonly (EntitySchema | (new () => object))[];
  /** Upper bound of open connections. @default 5 */
  readonly maxConnections?: number;
}

/** Provides `ServiceDataSource` for one service; the schema is never synchronised from entities. */
@Module({})
export class ServiceDataSourceModule {
  static register(options: ServiceDataSourceOptions): DynamicModule {
    const { schema } = options;
    return {
      module: ServiceDataSourceModule,
      imports: [
        TypeOrmModule.forRoot({
          name: schema,
          type: 'postgres',
          url: options.url,
          entities: [...options.entities] as (new () => object)[],
          synchronize: false,
          installExtensions: false,
          logging: false,
          retryAttempts: 0,
          applicationName: `tollgate-${schema}`,
          poolSize: options.maxConnections ?? 5,
          extra: { options: startOptions(schema), connectionTimeoutMillis: 10_000 },
        }),
      ],
      providers: [
        {
          provide: ServiceDataSource,
          useFactory: (source: DataSource) => new ServiceDataSource(source),
          inject: [getDataSourceToken(schema)],
        },
      ],
      exports: [ServiceDataSource],
    };
  }
}

/** The same settings as `Database` gives its connections. */
function startOptions(schema: SchemaName): string {
  return [
    `role=${roleOf(schema)}`,
    `search_path=${schema}`,
    'timezone=UTC',
    'synchronous_commit=on',
    'statement_timeout=30000',
    'lock_timeout=10000',
    'idle_in_transaction_session_timeout=60000',
  ]
    .map((setting) => `-c ${setting}`)
    .join(' ');
}
