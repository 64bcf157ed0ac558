import type { Cluster, ConfigResourceTypes, DescribeConfigResponse } from 'kafkajs';

import { assert } from '#libs/kernel';

/** The protocol's number of a topic; the client's own name for it cannot be imported by Node. */
export const TOPIC_RESOURCE = 2 as ConfigResourceTypes.TOPIC;

/** A request that the client sends and does not declare. */
interface ConfiguredBroker {
  describeConfigs(request: {
    readonly resources: readonly {
      readonly type: ConfigResourceTypes;
      readonly name: string;
      readonly configNames: readonly string[];
    }[];
  }): Promise<DescribeConfigResponse>;
}

/** How long the brokers keep a topic's records, milliseconds; null = for ever. */
export async function retentionOf(cluster: Cluster, topic: string): Promise<number | null> {
  const broker = (await cluster.findControllerBroker()) as unknown as ConfiguredBroker;
  const { resources } = await broker.describeConfigs({
    resources: [{ type: TOPIC_RESOURCE, name: topic, configNames: ['retention.ms'] }],
  });
  const value = resources[0]?.configEntries[0]?.configValue;
  assert(value !== undefined, `the broker named no retention of ${topic}`);
  return Number(value) < 0 ? null : Number(value);
}
