// Lays out what an installed product consists of: the emitted code without tests and failpoints, and the
// data files it reads. The image build copies that folder; a test runs the services from one.
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { stripFolder } from './strip-failpoints.mjs';

const HELP = `Usage: node scripts/build-production.mjs [folder]

Copies the product out of dist/ to the folder (dist-production/ when none is named), without tests,
declarations and failpoints. Run it after the build: npm run build:production does both. Its packages are
not copied: install them beside it, or link node_modules.`;

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** What is read at run time beside the emitted code. */
const DATA = ['package.json', 'catalog', 'prices', 'migrations/clickhouse'];

/** What an image asks whether its process is well. */
const HEALTH_CHECK = 'healthcheck.mjs';

/** Emitted code that ships; the simulator and standalone are images of their own. */
const CODE = ['apps', 'libs', 'migrations'];

/** Tests, what only tests use, and what only the compiler reads. */
const LEFT_OUT = [
  /(^|\/)test(\/|$)/,
  /^libs\/testing(\/|$)/,
  /^libs\/[^/]+\/(contract|samples)(\/|$)/,
  /\.(spec|contract|bench|child)\.js(\.map)?$/,
  /\.d\.ts$/,
  /\.tsbuildinfo$/,
];

/**
 * Lays the product out in a folder, which is emptied first.
 * @param {string} target
 * @returns {{ removed: number, left: string[] }} as `stripFolder` does
 */
export function layOutProduct(target) {
  const dist = join(root, 'dist');
  if (!existsSync(join(dist, 'apps'))) throw new Error('dist is empty: run the build first');
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  for (const path of DATA) cpSync(join(root, path), join(target, path), { recursive: true });
  cpSync(join(root, 'docker', HEALTH_CHECK), join(target, HEALTH_CHECK));
  for (const top of CODE) copyCode(dist, top, join(target, 'dist'));
  return stripFolder(join(target, 'dist'));
}

function copyCode(from, path, to) {
  if (LEFT_OUT.some((pattern) => pattern.test(path))) return;
  if (!statSync(join(from, path)).isDirectory()) {
    mkdirSync(dirname(join(to, path)), { recursive: true });
    cpSync(join(from, path), join(to, path));
    return;
  }
  for (const name of readdirSync(join(from, path))) copyCode(from, `${path}/${name}`, to);
}

function main(args) {
  if (args.length > 1 || args[0]?.startsWith('-')) {
    process.stderr.write(`${HELP}\n`);
    return args[0] === '--help' ? 0 : 2;
  }
  const target = resolve(args[0] ?? join(root, 'dist-production'));
  const { removed, left } = layOutProduct(target);
  for (const place of left) {
    process.stderr.write(`${place}: a failpoint must be a statement on a line of its own\n`);
  }
  process.stdout.write(`laid out in ${target}, ${removed} failpoints removed\n`);
  return left.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = main(process.argv.slice(2));
}
