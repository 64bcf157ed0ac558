/*
 * Loaded before a proxy process: on SIGUSR2 every worker thread of it dies. Nothing in the product can
 * be asked to do that.
 */
import { syncBuiltinESMExports } from 'node:module';
import threads from 'node:worker_threads';

class MortalWorker extends threads.Worker {
  constructor(...given: ConstructorParameters<typeof threads.Worker>) {
    super(...given);
    process.once('SIGUSR2', () => void this.terminate());
  }
}

threads.Worker = MortalWorker;
syncBuiltinESMExports();
