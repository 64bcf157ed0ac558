import { Max, Min } from 'class-validator';

import { EnvInteger, EnvText } from '#libs/platform/config';

/** Settings of the simulator as a process of its own. */
export class SimulatorConfig {
  /** TCP port, 0 = any free one. */
  @EnvInteger('SIMULATOR_PORT', { describe: 'a TCP port, 0 for any free one', fallback: '8090' })
  @Min(0)
  @Max(65_535)
  port!: number;

  /** Address to listen on. */
  @EnvText('HOST', { describe: 'the address to listen on', fallback: '127.0.0.1' })
  host!: string;

  /** File that the log is appended to; null keeps the last lines in memory only. */
  @EnvText('SIMULATOR_LOG_FILE', { describe: 'a file for the log of bills', fallback: null })
  logFile!: string | null;
}
