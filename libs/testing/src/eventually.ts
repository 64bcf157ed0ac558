import { delay, messageOf, SystemClock } from '#libs/kernel';

/** Pause between two looks, milliseconds. */
const POLL_MS = 10;

/**
 * Waits until a check passes: it must neither throw nor return false.
 * @returns what the check returned
 * @throws Error with the check's last failure when the deadline passes
 */
export async function eventually<T>(
  check: () => T | Promise<T>,
  options: { readonly deadlineMs?: number } = {},
): Promise<Exclude<T, false>> {
  const { deadlineMs = 30_000 } = options;
  const clock = new SystemClock();
  const endMs = clock.monotonicMs() + deadlineMs;
  let last = 'it returned false';
  for (;;) {
    try {
      const result = await check();
      if (result !== false) return result as Exclude<T, false>;
      last = 'it returned false';
    } catch (error) {
      last = messageOf(error);
    }
    if (clock.monotonicMs() >= endMs) throw new Error(`not within ${deadlineMs} ms: ${last}`);
    await delay(POLL_MS);
  }
}
