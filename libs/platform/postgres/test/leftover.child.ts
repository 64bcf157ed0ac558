import { SystemClock, SystemRandom } from '#libs/kernel';
import { EmbeddedPostgres } from '#libs/platform/postgres';

/** A process that starts the embedded server on its argument, says so, and lives until it is killed. */
const [clock, random] = [new SystemClock(), new SystemRandom()];
const server = await EmbeddedPostgres.start({ dataDir: process.argv[2]!, clock, random });
process.stdout.write(`${JSON.stringify({ pid: server.pid, url: server.url })}\n`);
setInterval(() => undefined, 1_000);
