// Brings a fresh clone up: plain JavaScript for Node >= 20.19 without dependencies, because it runs
// before anything is installed. Everything after the installation runs on node_modules/.bin/node.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HELP = `Usage: node scripts/up.mjs <command> [arguments]

  start   install what is missing, build, and run Tollgate on one port (npm start)
  test    install what is missing, build from nothing, and run every suite (npm test)

Arguments after "test" go to Jest:
  npm test -- --selectProjects unit
  npm test -- --selectProjects tidy`;

const OLDEST_NODE = [20, 19];
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const modules = join(root, 'node_modules');
const node = join(modules, '.bin', 'node');
const stampFile = join(modules, '.tollgate-install');

/** A Kafka client asks for timers in the past, which are run at once and say so every time. */
const QUIET_TIMERS = '--disable-warning=TimeoutNegativeWarning';

/** Why a step ended badly; its text is all that the reader gets to see. */
class StepError extends Error {}

function seconds(sinceMs) {
  return `${((performance.now() - sinceMs) / 1000).toFixed(1)} s`;
}

/** Runs one step and prints one line with its time; on a terminal the seconds run along. */
async function step(title, work) {
  const startedMs = performance.now();
  const label = `  ${title.padEnd(26)}`;
  let ticker;
  if (process.stdout.isTTY) {
    ticker = setInterval(() => process.stdout.write(`\r${label}${seconds(startedMs)}`), 200);
  }
  try {
    const note = await work();
    clearInterval(ticker);
    const lead = process.stdout.isTTY ? '\r' : '';
    process.stdout.write(`${lead}${label}${note ?? 'done'}, ${seconds(startedMs)}\u0020\u0020\n`);
  } catch (error) {
    clearInterval(ticker);
    if (process.stdout.isTTY) process.stdout.write('\n');
    throw error;
  }
}

/** Runs a command to its end with its output kept back; a failure shows it. */
function runQuietly(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...options,
    });
    const output = [];
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    child.on('error', (error) => reject(new StepError(`${command}: ${error.message}`)));
    child.on('close', (code, signal) => {
      const text = Buffer.concat(output).toString().trim();
      if (code === 0) return resolve(text);
      const end = signal === null ? `exit code ${code}` : signal;
      reject(new StepError(`${text}\n\n${command} ${args.join(' ')} failed (${end})`));
    });
  });
}

/** npm on the machine's own Node: the Node in node_modules is replaced while npm runs. */
function npm(...args) {
  const searched = (process.env.PATH ?? '').split(delimiter);
  const path = searched.filter((folder) => !folder.endsWith(join('node_modules', '.bin')));
  return runQuietly('npm', args, { env: { ...process.env, PATH: path.join(delimiter) } });
}

/** What an installation depends on; an equal stamp means that nothing is missing. */
function wantedStamp() {
  const hash = createHash('sha256');
  hash.update(readFileSync(join(root, 'package-lock.json')));
  return `${hash.digest('hex')} ${process.platform}-${process.arch}\n`;
}

async function install() {
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wantedStamp()) {
    return 'up to date';
  }
  await npm('install', '--no-audit', '--no-fund');
  writeFileSync(stampFile, wantedStamp());
  return 'installed';
}

/** With install scripts switched off npm leaves the Node package without its binary. */
async function checkNode() {
  if (!existsSync(node)) await npm('rebuild', 'node');
  if (!existsSync(node)) {
    throw new StepError(
      'node_modules/.bin/node is missing and "npm rebuild node" did not bring it.\n' +
        'Set "ignore-scripts" to false in your npm configuration and run the command again.',
    );
  }
  return runQuietly(node, ['--version']);
}

function build(...projects) {
  const compiler = join(modules, '@typescript', 'native', 'bin', 'tsc');
  return runQuietly(node, [compiler, '-b', ...projects]).then(() => 'built');
}

/** The exit code that a shell gives to a process that was ended by a signal. */
function exitCode(code, signal) {
  return signal === null ? code : 128 + (constants.signals[signal] ?? 0);
}

/**
 * Runs a program to its end and passes the first signal on. Ctrl-C reaches this process twice, from the
 * terminal and from npm: Tollgate has a process group of its own, is told once, and is awaited while it
 * drains. A test run stays in the group, so that whoever ends the group leaves nothing behind.
 */
function runToEnd(args, { isOwnGroup }) {
  return new Promise((resolve, reject) => {
    const child = spawn(node, args, {
      cwd: root,
      detached: isOwnGroup,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    let told = false;
    const pass = (signal) => {
      if (told) return;
      told = true;
      child.kill(signal === 'SIGHUP' ? 'SIGTERM' : signal);
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, pass);
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve(exitCode(code, signal)));
  });
}

async function start(args) {
  await step('packages', install);
  await step('runtime', checkNode);
  await step('build', () => build('apps/standalone', 'apps/cli'));
  const main = join(root, 'dist', 'apps', 'standalone', 'src', 'main.js');
  const flags = ['--enable-source-maps', QUIET_TIMERS];
  return runToEnd([...flags, main, ...args], { isOwnGroup: true });
}

async function test(args) {
  await step('packages', install);
  await step('runtime', checkNode);
  await step('build', () => {
    rmSync(join(root, 'dist'), { recursive: true, force: true });
    return build();
  });
  const flags = [
    '--experimental-vm-modules',
    '--enable-source-maps',
    '--disable-warning=ExperimentalWarning',
    QUIET_TIMERS,
  ];
  const jest = join(modules, 'jest', 'bin', 'jest.js');
  return runToEnd([...flags, jest, '--config', join(root, 'jest.config.js'), ...args], {
    isOwnGroup: false,
  });
}

function checkMachine() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [oldestMajor, oldestMinor] = OLDEST_NODE;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return;
  throw new StepError(
    `Node ${process.versions.node} is too old: install Node ${OLDEST_NODE.join('.')} or newer`,
  );
}

async function main() {
  const [command, ...args] = process.argv.slice(2);
  if (command === undefined || command === '--help' || command === '-h' || command === 'help') {
    process.stdout.write(`${HELP}\n`);
    return command === undefined ? 2 : 0;
  }
  const commands = { start, test };
  if (!Object.hasOwn(commands, command)) {
    process.stderr.write(`up: there is no command "${command}"\n\n${HELP}\n`);
    return 2;
  }
  try {
    checkMachine();
    return await commands[command](args);
  } catch (error) {
    process.stderr.write(`\n${error instanceof StepError ? error.message : error.stack}\n`);
    if (command === 'test') process.stdout.write('0 passed, 1 failed\n');
    return 1;
  }
}

process.exitCode = await main();
