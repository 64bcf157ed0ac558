/** Resolves after a time; for back-off and polling loops, never for ordering. */
export function delay(timeMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const finish = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, timeMs);
    signal?.addEventListener('abort', finish, { once: true });
  });
}

/** Bounds of an exponential back-off, milliseconds. */
export interface BackoffBounds {
  readonly firstMs: number;
  readonly mostMs: number;
}

/**
 * The pause before a retry: exponential with full jitter, within the bounds.
 * @param attempt 0 for the first retry
 * @param unit a random number in [0, 1)
 */
export function backoffMs(attempt: number, bounds: BackoffBounds, unit: number): number {
  const ceiling = Math.min(bounds.mostMs, bounds.firstMs * 2 ** Math.min(attempt, 30));
  return Math.max(1, Math.floor(ceiling * unit));
}
