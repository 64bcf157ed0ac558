import { delay } from '#libs/kernel';
import type { TcpFault, TcpFaultProxy } from '#libs/testing';

import type { Installation } from '../harness/installation.js';
import type { FaultCase, FaultContext } from './fault-case.js';
import { outside, STORE_AWAY } from './outside.js';

/** A fault of the connections to one engine, for a while. */
interface ConnectionFault extends Pick<FaultCase, 'id' | 'variant' | 'guarantee'> {
  readonly to: (installation: Installation) => TcpFaultProxy;
  readonly fault: (context: FaultContext) => TcpFault;
  readonly forMs: number;
  readonly allows5xx?: readonly string[];
  /** Whether requests have to be answered meanwhile. */
  readonly isUnnoticed?: boolean;
}

const toKafka = ({ cluster }: Installation): TcpFaultProxy =>
  cluster.engines.kafka.brokers[0]!.proxy!;
const toClickHouse = ({ cluster }: Installation): TcpFaultProxy =>
  cluster.engines.clickhouse.faults;
const toPostgres = ({ cluster }: Installation): TcpFaultProxy => cluster.engines.postgres.faults;
const toUpstream = ({ cluster }: Installation): TcpFaultProxy => cluster.upstreamFaults;

/** Answers that must come while the event log is away. */
const ANSWERS_MEANWHILE = 20;

/** Connections that are refused, hang, or are cut at a byte or at a reply. */
export const CONNECTION_FAULTS: readonly FaultCase[] = (
  [
    {
      id: 'A7',
      variant: 'replies of the broker lost at once',
      guarantee: 'a batch whose acknowledgement is lost is counted once',
      to: toKafka,
      fault: () => ({ kind: 'drop_replies', share: 0.9 }),
      forMs: 400,
    },
    {
      id: 'C3',
      variant: 'a third of the replies of the broker lost',
      guarantee: 'appended and not acknowledged: each record counts once',
      to: toKafka,
      fault: () => ({ kind: 'drop_replies', share: 0.3 }),
      forMs: 1_500,
      isUnnoticed: true,
    },
    {
      id: 'C2',
      variant: 'the broker away',
      guarantee: 'requests go on and every record arrives once',
      to: toKafka,
      fault: () => ({ kind: 'refuse' }),
      forMs: 2_500,
      isUnnoticed: true,
    },
    {
      id: 'C2',
      variant: 'the broker silent',
      guarantee: 'requests go on and every record arrives once',
      to: toKafka,
      fault: () => ({ kind: 'hang' }),
      forMs: 2_000,
      isUnnoticed: true,
    },
    {
      id: 'D3',
      variant: 'connections to ClickHouse cut inside the insert',
      guarantee: 'each row once, wherever the body was cut',
      to: toClickHouse,
      fault: ({ random }) => ({ kind: 'cut', afterBytes: random.integer(200, 20_000) }),
      forMs: 800,
      isUnnoticed: true,
    },
    {
      id: 'D3',
      variant: 'answers of ClickHouse lost',
      guarantee: 'inserted and not answered: each row once',
      to: toClickHouse,
      fault: () => ({ kind: 'drop_replies', share: 0.5 }),
      forMs: 800,
      isUnnoticed: true,
    },
    {
      id: 'D10',
      variant: 'ClickHouse away',
      guarantee: 'the lag grows, offsets stand, every row arrives once',
      to: toClickHouse,
      fault: () => ({ kind: 'refuse' }),
      forMs: 2_500,
      isUnnoticed: true,
    },
    {
      id: 'D10',
      variant: 'ClickHouse silent',
      guarantee: 'the lag grows, offsets stand, every row arrives once',
      to: toClickHouse,
      fault: () => ({ kind: 'hang' }),
      forMs: 1_500,
      isUnnoticed: true,
    },
    {
      id: 'E4',
      variant: 'connections to PostgreSQL cut at a reply',
      guarantee: 'a commit in doubt is done once',
      to: toPostgres,
      fault: () => ({ kind: 'drop_replies', share: 0.05 }),
      forMs: 1_000,
      allows5xx: STORE_AWAY,
    },
    {
      id: 'A3',
      variant: 'connections to the upstream cut',
      guarantee: 'an attempt whose fate is unknown is charged at its hold, once',
      to: toUpstream,
      fault: () => ({ kind: 'drop_replies', share: 0.3 }),
      forMs: 1_000,
    },
  ] satisfies readonly ConnectionFault[]
).map(connectionFault);

function connectionFault(one: ConnectionFault): FaultCase {
  const { id, variant, guarantee, allows5xx = [] } = one;
  return outside({
    id,
    variant,
    guarantee,
    allows5xx,
    work: async (context) => {
      const proxy = one.to(context.installation);
      proxy.set(one.fault(context));
      try {
        if (one.isUnnoticed === true) await context.load.untilAnswered(ANSWERS_MEANWHILE);
        await delay(one.forMs);
      } finally {
        proxy.set({ kind: 'none' });
      }
      context.struck();
    },
  });
}
