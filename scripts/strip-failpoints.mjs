// Takes the failpoints out of emitted JavaScript: plain JavaScript without dependencies, because the
// image build runs it. A production build must not be able to kill itself at a place that a variable of
// its environment names.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HELP = `Usage: node scripts/strip-failpoints.mjs <folder>

Replaces every statement failpoint('<name>'); below the folder by an empty one, and the module that acts
on armed failpoints by one that does nothing. Lines keep their numbers, so source maps stay right. Exit
codes: 0 done, 1 a call is left that is no statement on a line of its own, 2 usage error.`;

/** The module that holds the failpoints, below the folder of the emitted code. */
const HOME = /(^|\/)libs\/kernel\/src\/failpoint\.js$/;

/** A call as a statement on a line of its own; the name is the only argument. */
const STATEMENT = /^([ \t]*)failpoint\((['"])[a-z0-9._]+\2\);[ \t]*$/gm;

/** A call in any other form; a line of a comment is none. */
const CALL = /^(?![ \t]*(?:\/\/|\*|\/\*)).*\bfailpoint\s*\(/;

/**
 * The text without failpoints, and what is left of them.
 * @param {string} path of the file, with `/`
 * @param {string} text of an emitted module
 * @returns {{ text: string, removed: number, left: string[] }} left: `<path>:<line>` of each call
 */
export function stripFailpoints(path, text) {
  if (HOME.test(path)) return { text: inert(path, text), removed: 0, left: [] };
  let removed = 0;
  // An empty statement instead of nothing: what it was the body of must not get the next line as its own.
  const stripped = text.replace(STATEMENT, (_, indent) => {
    removed += 1;
    return `${indent};`;
  });
  const left = stripped
    .split('\n')
    .flatMap((line, index) => (CALL.test(line) ? [`${path}:${index + 1}`] : []));
  return { text: stripped, removed, left };
}

/** A module with the same names that does nothing: whoever arms failpoints arms none. */
function inert(path, text) {
  const names = [...text.matchAll(/^export (const|function|class|async function) (\w+)/gm)];
  const others = text.match(/^export (?!const |function )/m);
  if (names.length === 0 || others !== null) {
    throw new Error(`${path} exports something else than constants and functions`);
  }
  const lines = names.map(([, kind, name]) =>
    kind === 'const' ? `export const ${name} = [];` : `export function ${name}() {}`,
  );
  return `${lines.join('\n')}\n`;
}

/** Strips every module below a folder. @returns {{ removed: number, left: string[] }} */
export function stripFolder(folder) {
  const total = { removed: 0, left: [] };
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  for (const name of names.toSorted()) {
    const path = name.replaceAll('\\', '/');
    const file = join(folder, path);
    if (!path.endsWith('.js') || !statSync(file).isFile()) continue;
    const before = readFileSync(file, 'utf8');
    const { text, removed, left } = stripFailpoints(path, before);
    if (text !== before) writeFileSync(file, text);
    total.removed += removed;
    total.left.push(...left);
  }
  return total;
}

function main(args) {
  const [folder] = args;
  if (args.length !== 1 || folder.startsWith('-')) {
    process.stderr.write(`${HELP}\n`);
    return folder === '--help' ? 0 : 2;
  }
  const { removed, left } = stripFolder(folder);
  for (const place of left) {
    process.stderr.write(`${place}: a failpoint must be a statement on a line of its own\n`);
  }
  process.stdout.write(`${removed} failpoints removed\n`);
  return left.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = main(process.argv.slice(2));
}
