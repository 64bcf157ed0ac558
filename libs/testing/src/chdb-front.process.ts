/**
 * The stand-in for a ClickHouse server as a process of its own, for tests that kill it.
 * Arguments: port, data directory (kept, so that the next process goes on with it).
 */
import { openChdbHttpFront } from './chdb-http-front.js';

/** Port and data directory, as text. */
export type ChdbFrontArguments = readonly [port: string, dataDir: string];

const [port = '0', dataDir = ''] = process.argv.slice(2);
const front = await openChdbHttpFront({ dataDir, port: Number(port) });
process.stdout.write(`${front.url}\n`);
process.once('SIGTERM', () => void front.close().finally(() => process.exit(0)));
