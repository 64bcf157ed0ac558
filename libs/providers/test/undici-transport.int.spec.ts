import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';

import { afterEach, describe, expect, test } from '@jest/globals';

import { UndiciTransport, type UndiciTransportOptions } from '#libs/providers/adapters';
import type { UpstreamFailure, UpstreamHandler, UpstreamRequest } from '#libs/providers/core';

interface Outcome {
  status?: number;
  body: string;
  ended: boolean;
  failure?: UpstreamFailure;
}

/** Longer than a busy machine keeps an answer back, milliseconds. */
const PATIENCE_MS = 60_000;

const open: (Server | UndiciTransport)[] = [];

afterEach(async () => {
  for (const each of open.splice(0)) {
    if (each instanceof UndiciTransport) await each.close();
    else {
      each.closeAllConnections();
      await new Promise((resolve) => each.close(resolve));
    }
  }
});

async function upstream(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(server);
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function requestTo(origin: string, headTimeoutMs = PATIENCE_MS): UpstreamRequest {
  return {
    origin,
    path: '/chat/completions',
    headers: ['content-type', 'application/json'],
    body: Buffer.from('{}'),
    headTimeoutMs,
    idleTimeoutMs: PATIENCE_MS,
  };
}

function send(
  origin: string,
  onStart?: (abort: () => void) => void,
  headTimeoutMs = PATIENCE_MS,
  transport = new UndiciTransport({ connectTimeoutMs: PATIENCE_MS }),
): Promise<Outcome> {
  if (!open.includes(transport)) open.push(transport);
  return new Promise((resolve) => {
    const outcome: Outcome = { body: '', ended: false };
    const handler: UpstreamHandler = {
      onHead: (status) => (outcome.status = status),
      onData: (chunk) => ((outcome.body += chunk.toString()), true),
      onEnd: () => resolve({ ...outcome, ended: true }),
      onFailure: (failure) => resolve({ ...outcome, failure }),
    };
    const call = transport.dispatch(requestTo(origin, headTimeoutMs), handler);
    onStart?.(() => call.abort());
  });
}

test('an answer comes whole, and the body arrives with its length', async () => {
  const origin = await upstream((req, res) => {
    req.on('data', (data) => res.end(`${req.headers['content-length']}:${data}`));
  });
  expect(await send(origin)).toEqual({ status: 200, body: '2:{}', ended: true });
});

test('a refused connection is provably not sent', async () => {
  const outcome = await send('http://127.0.0.1:1');
  expect(outcome.failure).toMatchObject({ sent: false, reason: 'connect' });
});

test('a name that does not resolve is provably not sent', async () => {
  const outcome = await send('http://no-such-host.invalid');
  expect(outcome.failure).toMatchObject({ sent: false, reason: 'connect' });
});

test('a connection cut before the answer counts as sent', async () => {
  const origin = await upstream((req) => req.on('data', () => req.socket.destroy()));
  expect((await send(origin)).failure).toMatchObject({ sent: true, reason: 'cut' });
});

test('an answer cut in the middle keeps what came and says so', async () => {
  const origin = await upstream((req, res) => {
    req.resume();
    res.writeHead(200, { 'content-length': '100' });
    res.write('half', () => res.socket?.destroy());
  });
  expect(await send(origin)).toMatchObject({
    status: 200,
    body: 'half',
    failure: { sent: true, reason: 'cut' },
  });
});

test('an upstream that never answers is a timeout', async () => {
  const origin = await upstream((req) => req.resume());
  const outcome = await send(origin, undefined, 1_000);
  expect(outcome.failure).toMatchObject({ sent: true, reason: 'timeout' });
});

test('giving up before a byte went out is not sent, afterwards it is', async () => {
  const origin = await upstream((req) => req.resume());
  const early = await send(origin, (abort) => abort());
  expect(early.failure).toMatchObject({ sent: false, reason: 'aborted' });
  let abortNow: (() => void) | undefined;
  const arrived = await upstream((req) => req.on('data', () => abortNow?.()));
  const late = await send(arrived, (abort) => (abortNow = abort));
  expect(late.failure).toMatchObject({ sent: true, reason: 'aborted' });
});

test('a transport that closes breaks what runs, and sends nothing more', async () => {
  let seen = 0;
  const origin = await upstream((req) => {
    req.resume();
    seen += 1;
    void open.find((each) => each instanceof UndiciTransport)!.close();
  });
  expect((await send(origin)).failure).toMatchObject({ sent: true, reason: 'cut' });
  const transport = open.find((each) => each instanceof UndiciTransport)!;
  expect((await send(origin, undefined, PATIENCE_MS, transport)).failure).toMatchObject({
    sent: false,
    reason: 'connect',
  });
  expect(seen).toBe(1);
});

test('an upstream is offered HTTP/1.1 alone, so that a call has its connection to itself', async () => {
  let hello = '';
  const server = createTcpServer((socket) => {
    socket.once('data', (data) => {
      hello = data.toString('latin1');
      socket.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const outcome = await send(`https://127.0.0.1:${port}`);
  await new Promise((resolve) => server.close(resolve));
  expect(outcome.failure).toMatchObject({ sent: false, reason: 'connect' });
  expect(hello).toContain('\x08http/1.1');
  expect(hello).not.toContain('\x02h2');
});

describe('a call for which no connection is free', () => {
  /** An upstream that keeps its answers back until the test gives them. */
  async function slowUpstream() {
    const held: ServerResponse[] = [];
    let wanted = { count: 0, resolve: (): void => undefined };
    const origin = await upstream((req, res) => {
      req.resume();
      held.push(res);
      if (held.length === wanted.count) wanted.resolve();
    });
    const arrived = (count: number): Promise<void> =>
      new Promise((resolve) => {
        wanted = { count, resolve };
        if (held.length >= count) resolve();
      });
    return { origin, held, arrived };
  }

  function transportOf(options: UndiciTransportOptions): UndiciTransport {
    return new UndiciTransport({ connectTimeoutMs: PATIENCE_MS, ...options });
  }

  test('fails once and at once when given up, as not sent, and is never sent', async () => {
    const { origin, held, arrived } = await slowUpstream();
    const transport = transportOf({ connections: 1 });
    const running = send(origin, undefined, PATIENCE_MS, transport);
    await arrived(1);
    const failures: UpstreamFailure[] = [];
    for (let n = 0; n < 3; n++) {
      const call = transport.dispatch(requestTo(origin), {
        onHead: () => undefined,
        onData: () => true,
        onEnd: () => undefined,
        onFailure: (failure) => failures.push(failure),
      });
      expect(call.sent).toBe(false);
      call.abort();
      call.abort();
      expect(failures).toHaveLength(n + 1);
    }
    const next = send(origin, undefined, PATIENCE_MS, transport);
    const { socket } = held[0]!;
    held[0]!.end('first');
    expect(await running).toMatchObject({ body: 'first', ended: true });
    await arrived(2);
    // Calls given up cost the connection nothing.
    expect(held[1]!.socket).toBe(socket);
    held[1]!.end('next');
    expect(await next).toMatchObject({ body: 'next', ended: true });
    expect(held).toHaveLength(2);
    await transport.close();
    expect(failures).toEqual(Array(3).fill(expect.objectContaining({ sent: false })));
    expect(failures.map(({ reason }) => reason)).toEqual(['aborted', 'aborted', 'aborted']);
  });

  test('fails as not sent after its time, and is never sent', async () => {
    const { origin, held, arrived } = await slowUpstream();
    const transport = transportOf({ connections: 1, startTimeoutMs: 2_000 });
    const running = send(origin, undefined, PATIENCE_MS, transport);
    await arrived(1);
    const late = await send(origin, undefined, PATIENCE_MS, transport);
    expect(late.failure).toMatchObject({ sent: false, reason: 'timeout' });
    held[0]!.end('first');
    expect(await running).toMatchObject({ body: 'first', ended: true });
    const next = send(origin, undefined, PATIENCE_MS, transport);
    await arrived(2);
    held[1]!.end('next');
    expect(await next).toMatchObject({ body: 'next', ended: true });
    expect(held).toHaveLength(2);
  });

  test('is not among the first three hundred', async () => {
    const { origin, held, arrived } = await slowUpstream();
    const transport = transportOf({});
    const calls = Array.from({ length: 300 }, () =>
      send(origin, undefined, PATIENCE_MS, transport),
    );
    await arrived(300);
    for (const answer of held) answer.end('done');
    for (const outcome of await Promise.all(calls)) expect(outcome).toMatchObject({ body: 'done' });
  });
});
