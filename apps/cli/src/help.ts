import type { Command } from './command.js';

/** Options that every command takes. */
const COMMON = [
  ['--json', 'one JSON document on standard output'],
  ['--help', 'this text'],
] as const;

const CONNECTION = `Address and credential: TOLLGATE_URL and ADMIN_API_KEY, else those of the Tollgate that
"npm start" runs in this clone (DATA_DIR, .tollgate when unset). Never from arguments.`;

const EXIT_CODES = 'Exit codes: 0 done, 1 refused, 2 usage error, 3 no answer.';

function aligned(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`).join('\n');
}

/** The overview of some or all commands. @param noun only its commands; null for all */
export function helpOverview(commands: readonly Command[], noun: string | null): string {
  const shown = commands.filter(({ name }) => noun === null || name.startsWith(`${noun} `));
  const list = aligned(shown.map(({ name, summary }) => [name, summary]));
  const usage = `Usage: tollgate ${noun ?? '<noun>'} <verb> [arguments]`;
  const hint = 'tollgate <noun> <verb> --help shows the options and an example of each.';
  return `${usage}\n\n${list}\n\n${hint}\n${CONNECTION}\n${EXIT_CODES}\n`;
}

/** The page of one command: arguments, options, one example. */
export function helpCommand(command: Command): string {
  const positionals = command.positionals.map((name) => ` <${name}>`).join('');
  const own = Object.entries(command.options).map(
    ([name, { placeholder, describe }]) =>
      [`--${name}${placeholder === null ? '' : ` ${placeholder}`}`, describe] as const,
  );
  return (
    `Usage: tollgate ${command.name}${positionals} [options]\n\n${command.summary}.\n\n` +
    `${aligned([...own, ...COMMON])}\n\nExample:\n  ${command.example}\n`
  );
}
