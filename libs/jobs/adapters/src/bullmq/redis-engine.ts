import { Queue, Worker, type Processor } from 'bullmq';
import { Redis } from 'ioredis';

import type { JobData } from '#libs/jobs/core';
import { AppError } from '#libs/kernel';

import {
  workerOptions,
  type EngineQueue,
  type EngineWorker,
  type EngineWorkerOptions,
  type JobEngine,
} from './job-engine.js';

/** Namespace of our keys: other users of one Redis keep theirs. */
const PREFIX = 'tollgate-jobs';
/** Longest wait for a connection and for the answer to a probe, milliseconds. */
const PROBE_MS = 1_000;
/** Longest pause between attempts to connect again, milliseconds. */
const MAX_RECONNECT_MS = 2_000;
/** Events kept per queue; nobody reads them. */
const MAX_EVENTS = 100;

/** Job queues in Redis. */
export class RedisJobEngine implements JobEngine {
  readonly name = 'Redis';
  private readonly connection;

  /** @param url `redis://` or `rediss://` */
  constructor(private readonly url: string) {
    this.connection = {
      url,
      // Commands wait for the connection; how many may wait is bounded where jobs are added.
      maxRetriesPerRequest: null,
      connectTimeout: PROBE_MS,
      retryStrategy: (times: number) => Math.min(50 * 2 ** Math.min(times, 10), MAX_RECONNECT_MS),
    };
  }

  async probe(): Promise<void> {
    const client = new Redis(this.url, {
      lazyConnect: true,
      connectTimeout: PROBE_MS,
      commandTimeout: PROBE_MS,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
    });
    // The rejections below say the same.
    client.on('error', () => undefined);
    try {
      await client.connect();
      const policy = /^maxmemory_policy:(\S+)/m.exec(await client.info('memory'))?.[1];
      if (policy !== undefined && policy !== 'noeviction') throw evicts(policy);
    } finally {
      client.disconnect();
    }
  }

  queue(name: string): EngineQueue {
    return new Queue<JobData>(name, {
      connection: this.connection,
      prefix: PREFIX,
      streams: { events: { maxLen: MAX_EVENTS } },
    });
  }

  worker(name: string, processor: Processor<JobData>, options: EngineWorkerOptions): EngineWorker {
    return new Worker<JobData>(name, processor, {
      connection: this.connection,
      prefix: PREFIX,
      ...workerOptions(options),
    });
  }
}

function evicts(policy: string): AppError {
  return new AppError({
    code: 'jobs.redis_evicts',
    kind: 'unavailable',
    publicMessage:
      `Redis drops keys when its memory is full (maxmemory-policy ${policy}): ` +
      'set maxmemory-policy noeviction',
  });
}
