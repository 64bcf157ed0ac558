/**
 * Guarantee: a server that dies in the same breath in which a connection becomes usable fails the
 * call, never the process. Method: a server that writes its last words behind its first.
 */
import { createServer, type AddressInfo, type Server } from 'node:net';

import { afterEach, beforeEach, expect, test } from '@jest/globals';

import { Database } from './database.js';

/** @source PostgreSQL 18 manual, section "Message Formats" */
function message(type: string, body: string): Buffer {
  const bytes = Buffer.from(body, 'latin1');
  const head = Buffer.alloc(5, type);
  head.writeInt32BE(bytes.length + 4, 1);
  return Buffer.concat([head, bytes]);
}

const AUTHENTICATED = message('R', '\0\0\0\0');
const READY = message('Z', 'I');
const LAST_WORDS = message('E', 'SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0');

let server: Server;

beforeEach(async () => {
  server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(Buffer.concat([AUTHENTICATED, READY, LAST_WORDS])));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
});

test('a server that dies as it accepts fails the transaction, the session and the query', async () => {
  const { port } = server.address() as AddressInfo;
  const database = new Database({
    url: `postgres://user@127.0.0.1:${port}/none`,
    schema: null,
    applicationName: 'spec',
    onIdleError: () => undefined,
  });
  await expect(database.transaction(async () => undefined)).rejects.toThrow('connection');
  await expect(database.query('SELECT 1')).rejects.toThrow('connection');
  const session = await database.session();
  await expect(session.query('SELECT 1')).rejects.toThrow('connection');
  expect(session.lost.aborted).toBe(true);
  await session.close();
  await database.close();
});
