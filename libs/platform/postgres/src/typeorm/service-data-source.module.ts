import { Module, type DynamicModule } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource, EntitySchema } from 'typeorm';

import { poolConfig } from '../pool-config.js';
import type { SchemaName } from '../schemas.js';
import { ServiceDataSource } from './service-data-source.js';
import { UnansweredStatements } from './unanswered-statements.js';

/** What a service's entities need. */
export interface ServiceDataSourceOptions {
  readonly url: string;
  /** Its role is taken by every connection; it is the search path and the name of the data source. */
  readonly schema: SchemaName;
  /** Every entity class of the schema, listed. */
  readonly entities: readonly (EntitySchema | (new () => object))[];
  /** Upper bound of open connections. @default 5 */
  readonly maxConnections?: number;
  /** Longest one statement may run, milliseconds. @default 30000 */
  readonly statementTimeoutMs?: number;
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
          subscribers: [UnansweredStatements],
          // The pool's own settings, which go before what TypeORM makes of the URL. Columns are read as
          // the driver does by itself: the transformers of the entities expect that.
          extra: poolConfig({
            url: options.url,
            schema,
            applicationName: `tollgate-${schema}`,
            maxConnections: options.maxConnections ?? 5,
            statementTimeoutMs: options.statementTimeoutMs,
          }),
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
