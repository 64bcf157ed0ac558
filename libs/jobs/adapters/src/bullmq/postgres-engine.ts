import {
  PostgresConnection,
  PostgresQueueBackend,
  withBackend,
  type BackendFactory,
  type PostgresConnectionOptions,
  type Processor,
} from 'bullmq';

import type { JobData } from '#libs/jobs/core';
import { delay } from '#libs/kernel';
import { roleOf } from '#libs/platform/postgres';

import {
  workerOptions,
  type EngineQueue,
  type EngineWorker,
  type EngineWorkerOptions,
  type JobEngine,
} from './job-engine.js';

const SCHEMA = 'jobs';
/** Connections of one queue or worker; a worker has one more, on which it is told of new jobs. */
const MAX_CONNECTIONS = 2;
/** Longest wait for a connection, milliseconds. */
const CONNECT_MS = 1_000;
/** Longest statement, milliseconds; all are short. */
const STATEMENT_MS = 5_000;
/** Longest silence of a server that is gone without a word, milliseconds. */
const ANSWER_MS = 7_000;
/** Events kept per queue; nobody reads them. */
const MAX_EVENTS = 100;

/** Pause after a connection was not ready, milliseconds: a worker asks again at once. */
const NOT_READY_MS = 500;

/**
 * A connection that tries again after it was not ready. The client's own keeps its first failure for
 * ever: a worker would ask it without end and without a pause, and nothing else in the process would
 * ever have its turn.
 */
class LastingConnection extends PostgresConnection {
  override async waitUntilReady(): Promise<void> {
    try {
      await super.waitUntilReady();
    } catch (error) {
      Reflect.set(this, 'readyPromise', undefined);
      await delay(NOT_READY_MS);
      throw error;
    }
  }
}

const createBackend: BackendFactory<PostgresQueueBackend, PostgresConnectionOptions> = (
  name,
  options,
  { withBlockingConnection = false } = {},
) => {
  const connection = new LastingConnection(options.connection);
  // Workers are known by the names of their connections.
  const listenName = withBlockingConnection ? name : undefined;
  return new PostgresQueueBackend(connection, name, options, true, listenName);
};

const { Queue, Worker } = withBackend(createBackend);

/** Job queues in schema `jobs` of PostgreSQL, as role `tollgate_jobs`. */
export class PostgresJobEngine implements JobEngine {
  readonly name = 'PostgreSQL';
  private readonly connection: Exclude<PostgresConnectionOptions, string>;

  /** @param url login of the deployment's database, migrated */
  constructor(url: string) {
    const plain = new URL(url);
    // The driver lets parameters of the URL win, and without the role the jobs could read everything.
    const own = plain.searchParams.get('options');
    plain.searchParams.delete('options');
    const settings = `-c role=${roleOf(SCHEMA)} -c timezone=UTC -c statement_timeout=${STATEMENT_MS}`;
    this.connection = {
      connectionString: plain.toString(),
      options: own === null ? settings : `${own} ${settings}`,
      application_name: 'tollgate-jobs',
      schema: SCHEMA,
      migrate: false,
      max: MAX_CONNECTIONS,
      connectionTimeoutMillis: CONNECT_MS,
      query_timeout: ANSWER_MS,
      keepAlive: true,
    };
  }

  async probe(): Promise<void> {
    const connection = new PostgresConnection(this.connection);
    try {
      await connection.waitUntilReady();
    } finally {
      await connection.close();
    }
  }

  queue(name: string): EngineQueue {
    return new Queue<JobData>(name, {
      connection: this.connection,
      streams: { events: { maxLen: MAX_EVENTS } },
    });
  }

  worker(name: string, processor: Processor<JobData>, options: EngineWorkerOptions): EngineWorker {
    return new Worker<JobData>(name, processor, {
      connection: this.connection,
      ...workerOptions(options),
    });
  }
}
