import fastify from 'fastify';

import { registerRpcRoutes, RpcServices, rpcService } from '#libs/platform/rpc';
import {
  RATED_REPLAY_METHODS,
  RATED_REPLAY_SERVICE,
  RatedReplay,
  type FinishedThrough,
} from '#libs/usage/core';

/** Metering's replay as a server of its own, with messages that the test decides. */
export interface ReplayServer {
  readonly url: string;
  /** What was asked for, in order: source offsets. */
  readonly asked: readonly number[];
  close(): Promise<void>;
}

/**
 * @param replay sends what covers the source offset again
 * @param finished what metering has finished; absent for a release that does not say
 */
export async function startReplayServer(
  secret: string,
  replay: (fromOffset: number) => Promise<void>,
  finished?: () => readonly FinishedThrough[],
): Promise<ReplayServer> {
  const asked: number[] = [];
  class Replay extends RatedReplay {
    async replay(_topic: string, _partition: number, fromOffset: string): Promise<null> {
      asked.push(Number(fromOffset));
      await replay(Number(fromOffset));
      return null;
    }

    async finishedThrough(): Promise<readonly FinishedThrough[]> {
      return finished?.() ?? [];
    }
  }
  const services = new RpcServices();
  const offered = finished === undefined ? (['replay'] as const) : RATED_REPLAY_METHODS;
  services.expose(rpcService(RATED_REPLAY_SERVICE, new Replay(), offered));
  const app = fastify();
  registerRpcRoutes(app, services, secret);
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  return { url, asked, close: () => app.close() };
}
