/** Most rounds of which one has to be prompt: a machine may stand still during some of them. */
const MOST_ROUNDS = 5;

/**
 * Does the same again until it is prompt once.
 * @param mostMs longest time that counts as prompt, milliseconds
 * @param round does it whole, however long it takes. @returns how long it took, milliseconds
 * @throws Error with all times when no round was prompt
 */
export async function expectPrompt(mostMs: number, round: () => Promise<number>): Promise<void> {
  const times: number[] = [];
  while (times.length < MOST_ROUNDS) {
    const tookMs = await round();
    if (tookMs <= mostMs) return;
    times.push(Math.round(tookMs));
  }
  throw new Error(`never within ${mostMs} ms: ${times.join(', ')} ms`);
}
