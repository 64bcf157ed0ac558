import fastify from 'fastify';

import { registerRpcRoutes, RpcServices, rpcService } from '#libs/platform/rpc';
import { RATED_REPLAY_METHODS, RATED_REPLAY_SERVICE, RatedReplay } from '#libs/usage/core';

/** Metering's replay as a server of its own, with messages that the test decides. */
export interface ReplayServer {
  readonly url: string;
  /** What was asked for, in order: source offsets. */
  readonly asked: readonly number[];
  close(): Promise<void>;
}

/** @param replay sends what covers the source offset again */
export async function startReplayServer(
  secret: string,
  replay: (fromOffset: number) => Promise<void>,
): Promise<ReplayServer> {
  const asked: number[] = [];
  class Replay extends RatedReplay {
    async replay(_topic: string, _partition: number, fromOffset: string): Promise<void> {
      asked.push(Number(fromOffset));
      await replay(Number(fromOffset));
    }
  }
  const services = new RpcServices();
  services.expose(rpcService(RATED_REPLAY_SERVICE, new Replay(), RATED_REPLAY_METHODS));
  const app = fastify();
  registerRpcRoutes(app, services, secret);
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  return { url, asked, close: () => app.close() };
}
