import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { fastify, type FastifyInstance } from 'fastify';

import { AppError, picoUsd, type PicoUsd } from '#libs/kernel';
import {
  HttpRpcTransport,
  LocalRpc,
  registerRpcRoutes,
  rpcClient,
  rpcService,
  RpcServices,
} from '#libs/platform/rpc';

class Till {
  async add(coins: readonly { readonly valuePicoUsd: PicoUsd }[]): Promise<{
    readonly sumPicoUsd: PicoUsd;
    readonly nothing: null;
  }> {
    const sum = coins.reduce((total, coin) => total + coin.valuePicoUsd, 0n);
    return { sumPicoUsd: picoUsd(sum), nothing: null };
  }
  async fail(): Promise<never> {
    throw new AppError({
      code: 'till.closed',
      kind: 'unavailable',
      publicMessage: 'the till is closed',
      internalMessage: 'password is 1234',
      retryable: true,
    });
  }
  async hidden(): Promise<string> {
    return 'private';
  }
}

const METHODS = ['add', 'fail'] as const;
let server: FastifyInstance;
let remote: HttpRpcTransport;
let stranger: HttpRpcTransport;

beforeAll(async () => {
  server = fastify();
  const services = new RpcServices();
  services.expose(rpcService('till', new Till(), METHODS));
  registerRpcRoutes(server, services, 'service-secret');
  const url = await server.listen({ port: 0, host: '127.0.0.1' });
  const at = (secret: string): HttpRpcTransport =>
    new HttpRpcTransport({ baseUrls: { till: url }, secret, timeoutMs: 60_000 });
  remote = at('service-secret');
  stranger = at('another');
});

afterAll(async () => {
  await remote.close();
  await stranger.close();
  await server.close();
});

describe.each(['local', 'http'])('a port over the %s transport', (kind) => {
  function till(): Till {
    if (kind === 'http') return rpcClient<Till>(remote, 'till', METHODS);
    const local = new LocalRpc();
    local.expose(rpcService('till', new Till(), METHODS));
    return rpcClient<Till>(local, 'till', METHODS);
  }

  test('money beyond 2^53 arrives to the last pico-dollar', async () => {
    const coins = [
      { valuePicoUsd: picoUsd(9_007_199_254_740_993n) },
      { valuePicoUsd: picoUsd(1n) },
    ];
    expect(await till().add(coins)).toEqual({ sumPicoUsd: 9_007_199_254_740_994n, nothing: null });
  });

  test('a failure keeps its code, kind and whether a retry may help', async () => {
    await expect(till().fail()).rejects.toMatchObject({
      code: 'till.closed',
      kind: 'unavailable',
      retryable: true,
    });
  });
});

describe('calls between processes', () => {
  test('the internal message of a failure stays in its process', async () => {
    const error = await rpcClient<Till>(remote, 'till', METHODS)
      .fail()
      .catch((e: Error) => e);
    expect(JSON.stringify(error)).not.toContain('1234');
    expect((error as Error).message).not.toContain('1234');
  });

  test('a method that is not offered cannot be called', async () => {
    await expect(remote.call('till', 'hidden', [])).rejects.toMatchObject({
      code: 'rpc.unknown_method',
    });
  });

  test('a caller without the service credential is refused', async () => {
    await expect(stranger.call('till', 'add', [[]])).rejects.toMatchObject({
      kind: 'unauthenticated',
    });
  });

  test('a service that cannot be reached is unavailable and worth a retry', async () => {
    const nowhere = new HttpRpcTransport({
      baseUrls: { till: 'http://127.0.0.1:1' },
      secret: 's',
      timeoutMs: 60_000,
    });
    await expect(nowhere.call('till', 'add', [[]])).rejects.toMatchObject({
      code: 'rpc.unavailable',
      retryable: true,
    });
    await nowhere.close();
  });
});
