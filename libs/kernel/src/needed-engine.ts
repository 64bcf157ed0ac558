import { AppError, messageOf } from './app-error.js';
import type { Clock } from './clock.js';
import { delay } from './wait.js';

/** An engine that a process cannot start without. */
export interface NeededEngine {
  /** For people: `PostgreSQL`. */
  readonly name: string;
  /** Asks something harmless; rejects while the engine does not answer. */
  readonly ask: () => Promise<unknown>;
  /** Whether the same question may be answered later. */
  readonly isAway: (error: unknown) => boolean;
}

/** How long an engine is waited for, and who is told. */
export interface EngineWait {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly logger: { warn(facts: object, message: string): void };
  /** Longest wait, milliseconds. @default 120000 */
  readonly patienceMs?: number;
}

/**
 * Longer than an engine takes to recover after a power cut as a rule, and below the 150 s after which
 * the manifests of `deploy` take a process that does not listen for hung.
 */
const PATIENCE_MS = 120_000;
/** Pause between two questions, milliseconds. */
const PAUSE_MS = 250;
/** The log says this often that the wait goes on, milliseconds. */
const WORD_MS = 10_000;

/**
 * Waits until an engine answers; the log says so at once and then every 10 s.
 * @throws AppError `engine.refused` at once when waiting cannot help; `engine.away` when patience ends
 */
export async function untilEngineAnswers(engine: NeededEngine, wait: EngineWait): Promise<void> {
  const { clock, logger, patienceMs = PATIENCE_MS } = wait;
  const startedMs = clock.monotonicMs();
  let wordAtMs = startedMs;
  for (;;) {
    try {
      await engine.ask();
      return;
    } catch (error) {
      const reason = messageOf(error);
      if (!engine.isAway(error)) throw refused(engine.name, reason, error);
      const nowMs = clock.monotonicMs();
      if (nowMs - startedMs >= patienceMs) throw away(engine.name, patienceMs, reason, error);
      if (nowMs >= wordAtMs) {
        logger.warn({ reason }, `waits for ${engine.name}`);
        wordAtMs = nowMs + WORD_MS;
      }
    }
    await delay(PAUSE_MS);
  }
}

function refused(name: string, reason: string, cause: unknown): AppError {
  const publicMessage = `${name} does not let us in: ${reason}`;
  return new AppError({ code: 'engine.refused', kind: 'internal', publicMessage, cause });
}

function away(name: string, patienceMs: number, reason: string, cause: unknown): AppError {
  const publicMessage = `${name} did not answer for ${patienceMs / 1_000} s: ${reason}`;
  return new AppError({ code: 'engine.away', kind: 'unavailable', publicMessage, cause });
}
