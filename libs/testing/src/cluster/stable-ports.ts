import { createServer } from 'node:net';

import { SystemRandom } from '#libs/kernel';

/** Below the range from which systems take ports of outgoing connections. */
const LOWEST = 15_000;
const HIGHEST = 32_000;

const random = new SystemRandom();

/**
 * Ports of the loopback interface that were free a moment ago, all different. Unlike a port that the
 * system gives, none of them is taken by a connection of somebody else while its server restarts.
 */
export async function stablePorts(count: number): Promise<readonly number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = LOWEST + (Buffer.from(random.bytes(4)).readUInt32BE(0) % (HIGHEST - LOWEST));
    if (!found.has(port) && (await isFree(port))) found.add(port);
  }
  return [...found];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
