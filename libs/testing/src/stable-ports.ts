import { createServer } from 'node:net';

import { SystemRandom } from '#libs/kernel';
import { processEnvironment } from '#libs/platform/config';

/** Below the range from which systems take ports of outgoing connections. */
const LOWEST = 15_000;
const HIGHEST = 32_000;
/** Test workers side by side choose from ranges of their own. */
const RANGES = 8;

const random = new SystemRandom();
/** Given away by this process: a server may not listen yet, or be down for a moment. */
const given = new Set<number>();

/**
 * Ports of the loopback interface that were free a moment ago, all different, and different from all
 * that were given before. Unlike a port that the system gives, none of them is taken by a connection
 * of somebody else before its server starts, or while it restarts.
 */
export async function stablePorts(count: number): Promise<readonly number[]> {
  const width = Math.floor((HIGHEST - LOWEST) / RANGES);
  const worker = Number(processEnvironment()['JEST_WORKER_ID'] ?? 0) % RANGES;
  const found: number[] = [];
  while (found.length < count) {
    const at = Buffer.from(random.bytes(4)).readUInt32BE(0) % width;
    const port = LOWEST + worker * width + at;
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) found.push(port);
  }
  return found;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
