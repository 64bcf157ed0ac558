import type { Pool } from 'pg';
import type { EntityManager, DataSource } from 'typeorm';

import {
  surviveLostClients,
  type NamedStatement,
  type Queryable,
  type Rows,
  type Transaction,
} from '../database.js';

/** An open transaction of entities; outbox rows written through it commit with them. */
export interface EntityTransaction extends Transaction {
  readonly manager: EntityManager;
}

/** The entities of one service's schema, under that service's role. */
export class ServiceDataSource {
  constructor(private readonly source: DataSource) {
    surviveLostClients(Reflect.get(source.driver, 'master') as Pool);
  }

  /** For reads outside a transaction. */
  get manager(): EntityManager {
    return this.source.manager;
  }

  /** Runs `work` in one READ COMMITTED transaction: commits when it resolves, else rolls back. */
  async transaction<T>(work: (tx: EntityTransaction) => Promise<T>): Promise<T> {
    const afterCommit: (() => void)[] = [];
    const result = await this.source.transaction('READ COMMITTED', (manager) =>
      work({
        manager,
        query: queryThrough(manager),
        afterCommit: (action) => afterCommit.push(action),
      }),
    );
    for (const action of afterCommit) action();
    return result;
  }
}

/** Statements in the connection of an entity transaction; the driver's own column types hold. */
function queryThrough(manager: EntityManager): Queryable['query'] {
  return async <Row>(statement: string | NamedStatement, values: readonly unknown[] = []) => {
    const text = typeof statement === 'string' ? statement : statement.text;
    const result = await manager.queryRunner!.query(text, [...values], true);
    return { rows: result.records, rowCount: result.affected ?? 0 } as Rows<Row>;
  };
}
