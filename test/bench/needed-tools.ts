import { spawnSync } from 'node:child_process';

/** Programs the bench runs and the Debian packages that bring them. */
const PACKAGES: Readonly<Record<string, string>> = {
  nginx: 'nginx-light',
  wrk: 'wrk',
  taskset: 'util-linux',
};

/** One line that names what is missing and how to get it; null when nothing is. */
export function missingTools(): string | null {
  const missing = Object.keys(PACKAGES).filter((name) => versionOf(name) === null);
  if (missing.length === 0) return null;
  const packages = missing.map((name) => PACKAGES[name]).join(' ');
  return `the bench needs ${missing.join(', ')}; on Debian: apt-get install ${packages}`;
}

/** The first line a program says of its version; null when it cannot be run. */
export function versionOf(name: string): string | null {
  const { error, stdout, stderr } = spawnSync(name, ['-v'], { encoding: 'utf8' });
  return error === undefined ? (`${stdout}${stderr}`.split('\n')[0] ?? '').trim() : null;
}
