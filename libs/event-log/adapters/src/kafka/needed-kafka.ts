import { AppError, type NeededEngine } from '#libs/kernel';

import { KafkaConnection, type KafkaAddress } from './kafka-connection.js';
import { fromKafkaError } from './kafka-errors.js';

/** Kafka as what a process cannot start without. */
export function neededKafka(address: KafkaAddress): NeededEngine {
  return {
    name: 'Kafka',
    ask: () => describe(address),
    isAway: (error) => error instanceof AppError && error.retryable,
  };
}

async function describe(address: KafkaAddress): Promise<void> {
  const connection = new KafkaConnection(address, () => undefined);
  const admin = connection.kafka.admin();
  try {
    await admin.connect();
    await admin.describeCluster();
  } catch (error) {
    throw fromKafkaError(error);
  } finally {
    await admin.disconnect();
    connection.destroy();
  }
}
