import { delay } from '#libs/kernel';

import type { FaultCase, FaultContext } from './fault-case.js';
import { outside, STORE_AWAY } from './outside.js';

/** Kills of engines, and of everything at once. */
export const ENGINE_KILLS: readonly FaultCase[] = [
  outside({
    id: 'D11',
    variant: 'kill -9 of ClickHouse',
    guarantee: 'each row once, whatever of an insert had arrived',
    work: async ({ installation, random, struck }) => {
      const { process } = installation.cluster.engines.clickhouse;
      await delay(random.integer(0, 200));
      await process.kill();
      struck();
      await process.start();
    },
  }),
  outside({
    id: 'E4',
    variant: 'kill -9 of PostgreSQL',
    guarantee: 'committed transactions are kept, those in doubt are done once',
    allows5xx: STORE_AWAY,
    work: async ({ installation, random, struck }) => {
      await delay(random.integer(0, 200));
      await installation.cluster.engines.postgres.kill();
      struck();
      await installation.cluster.engines.postgres.restart();
    },
  }),
  outside({
    id: 'C1',
    variant: 'kill -9 of the broker',
    isSlow: true,
    guarantee: 'requests go on, every record arrives once',
    work: async ({ installation, random, struck }) => {
      const [broker] = installation.cluster.engines.kafka.brokers;
      await delay(random.integer(0, 200));
      await broker!.kill();
      struck();
      await broker!.start();
    },
  }),
  outside({
    id: 'G1',
    variant: 'everything killed at once',
    guarantee: 'all of it together, started again in any order',
    allows5xx: STORE_AWAY,
    work: killEverything,
  }),
];

async function killEverything({ installation, random, struck }: FaultContext): Promise<void> {
  const { cluster } = installation;
  const { clickhouse, kafka, postgres } = cluster.engines;
  const services = [...cluster.services.keys()];
  await Promise.all([
    ...services.map((service) => cluster.service(service).end('SIGKILL')),
    clickhouse.process.kill(),
    kafka.brokers[0]!.kill(),
    postgres.kill(),
  ]);
  struck();
  const starts = [
    ...services.map((service) => () => installation.start(service)),
    () => clickhouse.process.start(),
    () => kafka.brokers[0]!.start(),
    () => postgres.restart(),
  ];
  // None waits for another to be ready; an engine may come seconds after those that need it.
  const startings = starts.map(async (start) => {
    await delay(random.integer(0, 2_500));
    await start();
  });
  await Promise.all(startings);
}
