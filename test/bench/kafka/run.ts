/** One run of one client, as a process of its own: prints what it cost as JSON. */
import { consume, openLog, produce, type Client, type Step } from './client-run.js';

const [client, step, topic, brokers, events, batchSize] = process.argv.slice(2) as [
  Client,
  Step,
  string,
  string,
  string,
  string,
];
const log = openLog(client, brokers.split(','));
const work = step === 'produce' ? produce : consume;
const run = await work(log, topic, Number(events), Number(batchSize));
process.stdout.write(JSON.stringify(run));
await log.close();
process.exit(0);
