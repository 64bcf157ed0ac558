import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { NestFastifyApplication } from '@nestjs/platform-fastify';

import { ProxyLifecycle, ProxyModule, proxyConsumer, type ProxyOptions } from '#apps/proxy';
import {
  PostgresEventLog,
  productTopics,
  provisionTopics,
  type EventLogServer,
} from '#libs/event-log/adapters';
import { eventHeaders, TOPICS, type Topic } from '#libs/events';
import { SystemClock, SystemRandom } from '#libs/kernel';
import { createHttpApp } from '#libs/platform/http';
import { LocalRpc } from '#libs/platform/rpc';
import { createRuntime } from '#libs/platform/telemetry';
import { UndiciTransport } from '#libs/providers/adapters';
import { SqliteSpool, type SqliteSpoolOptions } from '#libs/spool/adapters';
import { eventually, startTestPostgres, type TestPostgres } from '#libs/testing';
import { POSTGRES_MIGRATIONS } from '#migrations';

import {
  ADMIN_KEY,
  loggedEvents,
  PARTITIONS,
  PEPPERS,
  ProxyServices,
  ScriptedUpstream,
  type LoggedEvent,
} from './proxy-world.js';

export * from './proxy-world.js';

/** The clock of the machine, set forward by the test. */
export class ShiftedClock extends SystemClock {
  /** Milliseconds that it is ahead. */
  shiftMs = 0;

  override nowMs(): number {
    return super.nowMs() + this.shiftMs;
  }

  override monotonicMs(): number {
    return super.monotonicMs() + this.shiftMs;
  }
}

/** A running proxy with everything around it. */
export class ProxyFixture {
  readonly upstream = new ScriptedUpstream();
  private readonly services = new ProxyServices();
  readonly budget = this.services.budget;
  readonly keys = this.services.keys;
  url = '';
  options!: ProxyOptions;
  eventLog!: PostgresEventLog;
  spool!: SqliteSpool;
  readonly directory = mkdtempSync(join(tmpdir(), 'proxy-spool-'));
  private postgres!: TestPostgres;
  private app!: NestFastifyApplication;
  private consumer!: EventLogServer;
  readonly clock = new ShiftedClock();
  private readonly random = new SystemRandom();
  private upstreamUrl = '';

  static async start(): Promise<ProxyFixture> {
    const fixture = new ProxyFixture();
    fixture.upstreamUrl = await fixture.upstream.start();
    fixture.postgres = await startTestPostgres({ migrations: POSTGRES_MIGRATIONS });
    await provisionTopics(fixture.postgres.url, productTopics(PARTITIONS));
    const { clock, random } = fixture;
    const database = fixture.postgres.database('proxy');
    fixture.eventLog = new PostgresEventLog({ database, clock, random });
    await fixture.startProxy();
    return fixture;
  }

  /** Starts the application on the spool as it is. */
  async startProxy(spoolOptions: Partial<SqliteSpoolOptions> = {}): Promise<void> {
    const { clock, random } = this;
    const service = { service: 'proxy', partitions: PARTITIONS, logLevel: 'silent' } as const;
    const runtime = createRuntime({ ...service, clock });
    this.spool = await SqliteSpool.open({
      directory: this.directory,
      ack: 'process',
      clock,
      random,
      ...spoolOptions,
    });
    this.options = {
      runtime,
      rpc: this.services.offerTo(new LocalRpc(), () => this.upstreamUrl),
      eventLog: this.eventLog,
      spool: this.spool,
      transport: new UndiciTransport(),
      peppers: PEPPERS,
      adminApiKey: ADMIN_KEY,
      credentialOf: (name) => (name === 'SIM_CREDENTIAL' ? 'sim-secret' : null),
      publicUrl: () => 'http://public.example',
      drainMs: 5_000,
    };
    this.app = await createHttpApp(ProxyModule.register(this.options), runtime, {
      serviceName: 'llm-gateway',
      adminApiKey: ADMIN_KEY,
      metricsToken: null,
    });
    this.consumer = proxyConsumer(this.app, this.options);
    await this.app.init();
    await this.app.startAllMicroservices();
    await this.app.listen(0, '127.0.0.1');
    await this.app.get(ProxyLifecycle).ready();
    this.url = await this.app.getUrl();
    await eventually(() => this.hearsTheLog());
  }

  /** Whether the proxy has begun to read each topic: what is appended from now on it hears. */
  private async hearsTheLog(): Promise<boolean> {
    const metrics = await (await fetch(`${this.url}/metrics`)).text();
    return [TOPICS.control, TOPICS.prices, TOPICS.emitterResend].every((topic) =>
      new RegExp(`^event_log_lag_events\\{[^}]*topic="${topic}"`, 'm').test(metrics),
    );
  }

  /** Works on the spool while no proxy has it, as a process that then dies. */
  async withSpool(work: (spool: SqliteSpool) => Promise<void>): Promise<void> {
    const { clock, random, directory } = this;
    const spool = await SqliteSpool.open({ directory, ack: 'process', clock, random });
    await work(spool);
    await spool.close();
  }

  async stopProxy(): Promise<void> {
    await this.consumer.close();
    await this.app.close();
    await this.options.transport.close();
    await this.spool.close();
  }

  async stop(): Promise<void> {
    await this.stopProxy();
    await this.eventLog.close();
    await this.postgres.stop();
    await this.upstream.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** A chat request. @param body text as it is, or members added to a minimal request */
  chat(
    key: string | null,
    body: string | Record<string, unknown>,
    headers: Record<string, string> = {},
    signal?: AbortSignal,
  ): Promise<Response> {
    const whole = { model: 'sized', messages: [{ role: 'user', content: 'hi' }] };
    return fetch(`${this.url}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...headers,
      },
      body: typeof body === 'string' ? body : JSON.stringify({ ...whole, ...body }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Appends an event to `control`, or to another topic of one partition, as another service would. */
  async tell(type: string, data: object, topic: Topic = TOPICS.control): Promise<void> {
    const id = crypto.randomUUID();
    const time = '2026-01-01T00:00:00.000Z';
    const headers = eventHeaders({
      id,
      type,
      service: 'test',
      time,
      subject: id,
      partitionKey: id,
    });
    await this.eventLog.append([
      {
        topic,
        partition: 0,
        key: id,
        headers: { ...headers },
        value: Buffer.from(JSON.stringify(data)),
      },
    ]);
  }

  /** What a disk that lost its last writes does to a partition. */
  async loseFrom(topic: Topic, partition: number, offset: bigint): Promise<void> {
    await this.postgres.database(null).query(
      `WITH cut AS (
         UPDATE event_log.log_partition SET next_offset = $3
         WHERE topic = $1 AND partition = $2 RETURNING partition_id)
       DELETE FROM event_log.log_record r USING cut
       WHERE r.partition_id = cut.partition_id AND "offset" >= $3`,
      [topic, partition, offset],
    );
  }

  /** How often the key directory was asked. */
  get lookups(): number {
    return this.services.lookups;
  }

  /** Every event of a topic, partition by partition. */
  logged(topic: string): Promise<LoggedEvent[]> {
    return loggedEvents(this.eventLog, topic);
  }
}
