import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { Client } from 'pg';

/** A connection to the database of a running installation, as its superuser. */
export async function connectTo(dataDir: string): Promise<Client> {
  const facts = JSON.parse(readFileSync(join(dataDir, 'standalone.json'), 'utf8')) as {
    databaseUrl: string;
  };
  const client = new Client({ connectionString: facts.databaseUrl });
  await client.connect();
  return client;
}

/** The data of every event of a topic, in order of append per partition, read by SQL. */
export async function readEvents(
  dataDir: string,
  topic: string,
): Promise<Record<string, unknown>[]> {
  const client = await connectTo(dataDir);
  try {
    const { rows } = await client.query<{ value: Buffer }>(
      `SELECT r.value FROM event_log.log_record r JOIN event_log.log_partition p USING (partition_id)
       WHERE p.topic = $1 ORDER BY p.partition, r."offset"`,
      [topic],
    );
    return rows.map((row) => JSON.parse(row.value.toString()) as Record<string, unknown>);
  } finally {
    await client.end();
  }
}
