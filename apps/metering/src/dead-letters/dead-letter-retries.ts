import type { Job, Jobs } from '#libs/jobs/core';
import { AppError, messageOf } from '#libs/kernel';
import type { DeadLetterView } from '#libs/platform/postgres';
import type { Logger } from '#libs/platform/telemetry';

import { isPassing, type DeadLetterAddress, type DeadLetterDesks } from './dead-letter-desks.js';

/** The job that retries one letter. */
const RETRY_DEAD_LETTER = 'retry-dead-letter';
/** One transaction, here or behind one call. */
const LIMITS = { concurrency: 2, timeoutMs: 30_000 };
/** The job comes after the try that the caller waits for, milliseconds. */
const JOB_AFTER_MS = 10_000;

/** What a retry works with. */
export interface DeadLetterRetriesParts {
  readonly desks: DeadLetterDesks;
  /** Absent: only the try that the caller waits for is made. */
  readonly jobs: Pick<Jobs, 'queue' | 'workers'> | undefined;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

/**
 * Retries letters: at once, and by a job when this process dies over it or the letter's service is
 * away. A retry is one transaction that may be repeated, so it does not matter whether the job is done
 * once, twice or never; what was refused stays parked either way.
 */
export class DeadLetterRetries {
  constructor(private readonly parts: DeadLetterRetriesParts) {}

  /** Runs the jobs in this process from now on. */
  start(): void {
    this.parts.jobs?.workers.process(RETRY_DEAD_LETTER, (job) => this.again(job), LIMITS);
  }

  /**
   * @returns the letter as it stands now; null when it could not be tried yet and a job will
   * @throws AppError of the desk
   */
  async retry(address: DeadLetterAddress): Promise<DeadLetterView | null> {
    const { desks, jobs, logger } = this.parts;
    const { service, place } = address;
    const desk = desks.of(service);
    const id = `${service}/${place}`;
    const isQueued =
      (await jobs?.queue.add(
        RETRY_DEAD_LETTER,
        { service, place },
        { id, delayMs: JOB_AFTER_MS },
      )) ?? false;
    try {
      return await desk.retry(place);
    } catch (error) {
      if (!isQueued || !isPassing(error)) throw error;
      logger.warn({ letter: id, reason: messageOf(error) }, 'a dead letter is retried by a job');
      return null;
    }
  }

  private async again({ data }: Job): Promise<void> {
    const { service, place } = addressOf(data);
    try {
      await this.parts.desks.of(service).retry(place);
    } catch (error) {
      if (!(error instanceof AppError) || !isRefusal(error)) throw error;
      const reason = messageOf(error);
      this.parts.logger.info({ letter: `${service}/${place}`, reason }, 'a retry was refused');
    }
  }
}

function isRefusal({ kind }: AppError): boolean {
  return kind === 'conflict' || kind === 'not_found';
}

/** @throws AppError `dead_letter.malformed_job`, which is never tried again */
function addressOf({ service, place }: Job['data']): DeadLetterAddress {
  if (typeof service === 'string' && typeof place === 'string') return { service, place };
  throw new AppError({
    code: 'dead_letter.malformed_job',
    kind: 'invalid',
    publicMessage: 'the job names no dead letter',
  });
}
