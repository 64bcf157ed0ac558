import type { OnApplicationBootstrap, OnApplicationShutdown } from '@nestjs/common';

import { backoffMs, delay, type Clock, type Random } from '#libs/kernel';
import type { Logger } from '#libs/platform/telemetry';
import type { SpoolRelay } from '#libs/spool/core';

import type { CatalogueSource } from './admission/catalogue-source.js';
import type { HoldReleaser } from './admission/hold-releaser.js';
import type { InFlight } from './attempt/drains.js';
import { describeError } from './describe-error.js';
import type { RecoverSpool } from './recovery/recover-spool.use-case.js';

/** Pauses between attempts to recover while another service cannot be reached. */
const BACKOFF = { firstMs: 50, mostMs: 2_000 } as const;

/** What starts and stops with the proxy. */
export interface ProxyLifecycleParts {
  readonly catalogue: CatalogueSource;
  readonly recovery: RecoverSpool;
  readonly relay: SpoolRelay;
  readonly releaser: HoldReleaser;
  readonly inFlight: InFlight;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly drainMs: number;
}

/**
 * From start to stop: catalogue and prices, recovery, then admission. Recovery waits for the services
 * it needs, so the order in which processes start does not matter.
 */
export class ProxyLifecycle implements OnApplicationBootstrap, OnApplicationShutdown {
  private recovered = false;
  private running: Promise<void> | null = null;
  private readonly stopped = new AbortController();

  constructor(private readonly parts: ProxyLifecycleParts) {}

  onApplicationBootstrap(): void {
    this.parts.catalogue.start();
    this.parts.relay.start();
    this.running ??= this.recover();
  }

  /** Whether requests are admitted. */
  isOpen(): boolean {
    return this.recovered && !this.stopped.signal.aborted;
  }

  /** Resolves when requests are admitted, or when the proxy was stopped before. */
  async ready(): Promise<void> {
    await this.running;
  }

  /** Ends what is in flight, publishes what is spooled, within the time for draining. */
  async onApplicationShutdown(): Promise<void> {
    const { catalogue, relay, releaser, clock, drainMs } = this.parts;
    this.stopped.abort();
    await this.running;
    const endMs = clock.monotonicMs() + drainMs;
    await this.endInFlight(drainMs);
    await releaser.stop();
    await relay.stop(Math.max(0, endMs - clock.monotonicMs()));
    await catalogue.stop();
  }

  /** Waits for the answers in flight to end, for so many milliseconds at most. */
  async endInFlight(mostMs: number): Promise<void> {
    const ended = new AbortController();
    await Promise.race([this.parts.inFlight.idle(), delay(mostMs, ended.signal)]);
    ended.abort();
  }

  private async recover(): Promise<void> {
    const { recovery, catalogue, random, logger } = this.parts;
    const { signal } = this.stopped;
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        const prices = catalogue.current()?.prices;
        if (prices !== undefined) {
          const report = await recovery.execute(prices);
          if (Object.values(report).some((count) => count > 0)) logger.warn(report, 'recovered');
          this.recovered = true;
          return;
        }
      } catch (error) {
        logger.warn({ reason: describeError(error) }, 'recovery will be tried again');
      }
      await delay(backoffMs(failures, BACKOFF, random.bytes(1)[0]! / 256), signal);
    }
  }
}
