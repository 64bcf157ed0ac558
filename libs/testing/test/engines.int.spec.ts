import { connect } from 'node:net';

import { expect, test } from '@jest/globals';
import { startTestRedis } from '#libs/testing';

/** One command in, the first bytes of the answer out. */
function ask(url: string, command: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(`${command}\r\n`));
    socket.once('error', reject);
    socket.once('data', (answer) => {
      socket.destroy();
      resolve(answer.toString().trim());
    });
  });
}

test('Redis answers, is gone after kill -9 and empty after a new start', async () => {
  const redis = await startTestRedis({ isOwn: true });
  try {
    expect(await ask(redis.url, 'SET a 1')).toBe('+OK');
    await redis.process!.kill();
    await expect(ask(redis.url, 'PING')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await redis.process!.start();
    expect(await ask(redis.url, 'GET a')).toBe('$-1');
  } finally {
    await redis.stop();
  }
});
