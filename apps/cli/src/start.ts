import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { processEnvironment, projectRoot } from '#libs/platform/config';

import { HttpApi } from './api.js';
import { runCommandLine } from './command-line.js';
import { findConnection } from './connection.js';

/**
 * Runs one command of the process's arguments.
 * @returns the exit code: 0 done, 1 refused, 2 usage error, 3 unreachable
 */
export async function run(): Promise<number> {
  const environment = processEnvironment();
  const dataDir = resolve(projectRoot(), environment['DATA_DIR'] || '.tollgate');
  const isColoured = process.stdout.isTTY === true && !environment['NO_COLOR'];
  return runCommandLine(process.argv.slice(3), {
    connect: () => new HttpApi(findConnection(environment, (name) => readMaybe(dataDir, name))),
    isColoured,
    writeOut: (text) => process.stdout.write(text),
    writeError: (text) => process.stderr.write(text),
  });
}

/** A file of the data folder, null when it is not there or may not be read. */
function readMaybe(dataDir: string, name: string): string | null {
  try {
    return readFileSync(join(dataDir, name), 'utf8');
  } catch {
    return null;
  }
}
