/*
 * Loaded before a proxy process: on SIGUSR2 every worker thread of it dies, on SIGWINCH each dies once it
 * has committed a group, before anybody hears of that. Nothing in the product can be asked to do that.
 */
import { syncBuiltinESMExports } from 'node:module';
import threads from 'node:worker_threads';

class MortalWorker extends threads.Worker {
  private isDoomed = false;

  constructor(...given: ConstructorParameters<typeof threads.Worker>) {
    super(...given);
    process.once('SIGUSR2', () => void this.terminate());
    process.once('SIGWINCH', () => {
      this.isDoomed = true;
    });
  }

  override emit(event: string | symbol, ...values: unknown[]): boolean {
    // A number alone is the writer's word that a group is durable.
    const isLastWord = this.isDoomed && event === 'message' && typeof values[0] === 'number';
    if (!isLastWord) return super.emit(event as 'message', ...(values as [unknown]));
    void this.terminate();
    return true;
  }
}

threads.Worker = MortalWorker;
syncBuiltinESMExports();
