/** Serves the embedded ClickHouse engine over HTTP as a process of its own until it is ended. */
import { openChdbHttpFront } from '../chdb-http-front.js';

const front = await openChdbHttpFront();
process.stdout.write(`clickhouse listening on ${front.url}\n`);
process.once('SIGTERM', () => void front.close().then(() => process.exit(0)));
