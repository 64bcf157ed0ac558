import { messageOf } from '#libs/kernel';
import { ConfigError, EXIT_CONFIG, loadConfig, processEnvironment } from '#libs/platform/config';

import { SimulatorConfig } from './simulator.config.js';
import { startSimulator } from './simulator.js';

/**
 * Runs the simulator until SIGINT or SIGTERM. Prints `simulator listening on <url>` when it serves.
 * Exit codes: 0 stopped, 1 the port or the log file cannot be had, 2 faulty configuration.
 */
export async function run(): Promise<void> {
  try {
    const config = loadConfig(SimulatorConfig, processEnvironment(), {
      ownPrefixes: ['SIMULATOR_'],
      alsoKnown: ['SIMULATOR_URL'],
    });
    const { host, port, logFile } = config;
    const simulator = await startSimulator({ host, port, logFile });
    const stop = (): void => void simulator.close();
    process.once('SIGINT', stop);
    process.once('SIGTERM', stop);
    // Last: whoever reads the line may send a signal at once.
    process.stdout.write(`simulator listening on ${simulator.url}\n`);
  } catch (error) {
    process.stderr.write(`simulator: ${messageOf(error)}\n`);
    process.exitCode = error instanceof ConfigError ? EXIT_CONFIG : 1;
  }
}
