import { Agent, request, type ClientRequest } from 'node:http';

import { delay } from '#libs/kernel';
import { eventually } from '#libs/testing';

import type { SeededRandom } from '../harness/seeded-random.js';
import { LONG, QUICK } from './models.js';

/** What kind of requests are sent. */
export type LoadProfile = 'mixed' | 'slow' | 'streams' | 'no_usage' | 'exact';

/** What callers saw. */
export interface LoadCounts {
  sent: number;
  answered: number;
  /** Connections that broke, as they do when a process is killed. */
  broken: number;
  /** Answers with a status of 500 or more that metering caused, by code. */
  readonly failed: Map<string, number>;
}

/** Most requests under way; beyond it the generator waits, so that an outage does not pile them up. */
const MOST_IN_FLIGHT = 48;
/** Longest request, milliseconds. */
const REQUEST_MS = 20_000;
/** Longest wait for answers, or for the end of what is under way, milliseconds. */
const PATIENCE_MS = 60_000;
/** Upstream's own failures are told apart from ours by their code. */
const UPSTREAM_CODES: ReadonlySet<string> = new Set(['upstream_error', 'upstream_timeout']);

/** Sends requests at a rate, whatever becomes of them: plain and streamed, well and badly answered. */
export class ChaosLoad {
  readonly counts: LoadCounts = { sent: 0, answered: 0, broken: 0, failed: new Map() };
  profile: LoadProfile = 'mixed';
  private readonly agent = new Agent({ keepAlive: true, maxSockets: MOST_IN_FLIGHT });
  private readonly underWay = new Set<ClientRequest>();
  private running = false;
  private sending: Promise<void> = Promise.resolve();

  /** @param keys bearer tokens, one of which each request takes */
  constructor(
    private readonly url: string,
    private readonly keys: readonly string[],
    private readonly perSecond: number,
    private readonly random: SeededRandom,
  ) {}

  start(): void {
    if (this.running) return;
    this.running = true;
    this.sending = this.send();
  }

  /** Stops sending and waits for what is under way. */
  async stop(): Promise<void> {
    this.running = false;
    await this.sending;
    await eventually(() => this.underWay.size === 0, { deadlineMs: PATIENCE_MS });
  }

  /** Ends the connections to callers. */
  close(): void {
    for (const one of this.underWay) one.destroy();
    this.agent.destroy();
  }

  /** Waits until so many more requests were answered. */
  async untilAnswered(more: number): Promise<void> {
    const target = this.counts.answered + more;
    await eventually(() => this.counts.answered >= target, { deadlineMs: PATIENCE_MS });
  }

  private async send(): Promise<void> {
    while (this.running) {
      if (this.underWay.size < MOST_IN_FLIGHT) this.call();
      await delay(1_000 / this.perSecond);
    }
  }

  private call(): void {
    const body = JSON.stringify(this.body());
    const headers = {
      authorization: `Bearer ${this.random.one(this.keys)}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    };
    const url = `${this.url}/v1/chat/completions`;
    const call = request(url, { method: 'POST', agent: this.agent, headers, timeout: REQUEST_MS });
    this.counts.sent += 1;
    this.underWay.add(call);
    const end = (): void => void this.underWay.delete(call);
    call.once('timeout', () => call.destroy());
    call.once('error', () => {
      this.counts.broken += 1;
      end();
    });
    call.once('close', end);
    call.once('response', (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString().slice(0, 2_000)));
      response.once('end', () => this.take(response.statusCode ?? 0, text));
      response.once('error', () => end());
    });
    call.end(body);
  }

  private take(status: number, text: string): void {
    this.counts.answered += 1;
    if (status < 500) return;
    const code = /"code":"([a-z_]+)"/.exec(text)?.[1] ?? `status_${status}`;
    if (UPSTREAM_CODES.has(code)) return;
    this.counts.failed.set(code, (this.counts.failed.get(code) ?? 0) + 1);
  }

  private body(): object {
    const roll = this.random.next();
    const message = { role: 'user', content: `turn ${this.counts.sent}` };
    const base = { model: QUICK.id, messages: [message], stream: this.random.next() < 0.4 };
    const long = { ...base, model: LONG.id, stream: true };
    switch (this.profile) {
      case 'slow':
        return { ...base, simulator: { latency_ms: 1_500 } };
      case 'streams':
        return { ...long, simulator: { chunks: 16, chunk_interval_ms: 40 } };
      case 'no_usage':
        return { ...base, simulator: { fault: 'omit_usage' } };
      case 'exact':
        return { ...base, max_tokens: QUICK.outputTokens };
      case 'mixed':
        if (roll < 0.05) return { ...base, simulator: { status: 500 } };
        if (roll < 0.1) return { ...base, simulator: { fault: 'omit_usage' } };
        if (roll < 0.13) return { ...base, simulator: { fault: 'usage_absurd' } };
        if (roll < 0.16) return { ...long, simulator: { fault: 'cut_mid_stream' } };
        if (roll < 0.3) return { ...long, simulator: { chunks: 8, chunk_interval_ms: 10 } };
        return { ...base, simulator: { latency_ms: this.random.integer(0, 20) } };
    }
  }
}
