import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { Client } from 'pg';

import { TOPICS } from '#libs/events';

/** A connection to the database of a running installation, as its superuser. */
export async function connectTo(dataDir: string): Promise<Client> {
  const facts = JSON.parse(readFileSync(join(dataDir, 'standalone.json'), 'utf8')) as {
    databaseUrl: string;
  };
  const client = new Client({ connectionString: facts.databaseUrl });
  await client.connect();
  return client;
}

/** One record of the event log as it is stored. */
export interface StoredRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: Buffer;
}

/**
 * Every record of the event log, in order of append per partition, read by SQL.
 * @param topics all of them by default
 */
export async function readRecords(
  dataDir: string,
  topics: readonly string[] = Object.values(TOPICS),
): Promise<readonly StoredRecord[]> {
  const client = await connectTo(dataDir);
  try {
    const { rows } = await client.query<Omit<StoredRecord, 'headers'> & { headers: string }>(
      `SELECT p.topic, p.partition, r."offset"::text, r.key, r.headers, r.value
       FROM event_log.log_record r JOIN event_log.log_partition p USING (partition_id)
       WHERE p.topic = ANY ($1) ORDER BY p.topic, p.partition, r."offset"`,
      [topics],
    );
    return rows.map((row) => ({
      ...row,
      headers: JSON.parse(row.headers) as Record<string, string>,
    }));
  } finally {
    await client.end();
  }
}

/** The data of every event of a topic, in order of append per partition. */
export async function readEvents(
  dataDir: string,
  topic: string,
): Promise<Record<string, unknown>[]> {
  const records = await readRecords(dataDir, [topic]);
  return records.map(({ value }) => JSON.parse(value.toString()) as Record<string, unknown>);
}
