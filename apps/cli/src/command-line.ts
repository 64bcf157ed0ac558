import { parseArgs } from 'node:util';

import { delay, messageOf } from '#libs/kernel';

import type { Api } from './api.js';
import type { Command, CommandInput } from './command.js';
import { COMMANDS } from './commands/index.js';
import { EXIT, Failure, usageFailure } from './failure.js';
import { helpCommand, helpOverview } from './help.js';

/** What a command line needs from its process. */
export interface Surroundings {
  /** @throws Failure when address or credential are missing */
  readonly connect: () => Api;
  /** Whether the head line of a table may be set in bold. */
  readonly isColoured: boolean;
  readonly writeOut: (text: string) => void;
  readonly writeError: (text: string) => void;
}

/** Between two looks at work that goes on, milliseconds. */
const FOLLOW_MS = 500;

/** Options of every command, beside its own. */
const COMMON_OPTIONS = {
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/**
 * Runs one command: exactly one document or table on standard output, messages on standard error.
 * @param args without the program's name
 * @returns the exit code; never throws for what a user, a network or a server can do
 */
export async function runCommandLine(
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  try {
    await execute(args, surroundings);
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    surroundings.writeError(`tollgate: ${error.message}\n`);
    return error.exitCode;
  }
}

async function execute(args: readonly string[], surroundings: Surroundings): Promise<void> {
  const [noun, verb, ...rest] = args;
  if (noun === undefined) throw usageFailure(`nothing to do\n\n${helpOverview(COMMANDS, null)}`);
  if (isHelp(noun)) return surroundings.writeOut(helpOverview(COMMANDS, null));
  const isNoun = COMMANDS.some(({ name }) => name.startsWith(`${noun} `));
  if (!isNoun) throw usageFailure(`there is no "${noun}"\n\n${helpOverview(COMMANDS, null)}`);
  if (isHelp(verb)) return surroundings.writeOut(helpOverview(COMMANDS, noun));
  const command = COMMANDS.find(({ name }) => name === `${noun} ${verb ?? ''}`);
  if (command === undefined) {
    throw usageFailure(`there is no "${noun} ${verb ?? ''}"\n\n${helpOverview(COMMANDS, noun)}`);
  }
  const { input, isJson, isHelpAsked } = readInput(command, rest);
  if (isHelpAsked) return surroundings.writeOut(helpCommand(command));
  const request = command.request(input());
  const api = surroundings.connect();
  const text = await followToEnd(command, input(), api, await api.send(request), surroundings);
  surroundings.writeOut(present(command, input(), text, { ...surroundings, isJson, url: api.url }));
}

/** Asks until the work that a command began is over. @returns the last answer */
async function followToEnd(
  command: Command,
  input: CommandInput,
  api: Api,
  first: string,
  { writeError }: Surroundings,
): Promise<string> {
  let text = first;
  let shown = '';
  for (;;) {
    const next = command.follow?.(parseAnswer(text), input) ?? null;
    if (next === null) return text;
    if (next.progress !== shown) writeError(`${next.progress}\n`);
    shown = next.progress;
    await delay(FOLLOW_MS);
    text = await api.send(next.request);
  }
}

function isHelp(word: string | undefined): boolean {
  return word === '--help' || word === '-h' || word === 'help';
}

interface Given {
  /** @throws Failure 2 when an argument is missing or too many are given */
  readonly input: () => CommandInput;
  readonly isJson: boolean;
  readonly isHelpAsked: boolean;
}

function readInput(command: Command, args: readonly string[]): Given {
  const { values, positionals } = parse(command, args);
  const given = Object.entries(values);
  const input = (): CommandInput => ({
    positionals: namePositionals(command, positionals),
    values: Object.fromEntries(
      given.filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    ),
    flags: new Set(given.filter(([, value]) => value === true).map(([name]) => name)),
  });
  return { input, isJson: values['json'] === true, isHelpAsked: values['help'] === true };
}

interface Parsed {
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
  readonly positionals: readonly string[];
}

function parse(command: Command, args: readonly string[]): Parsed {
  const own = Object.entries(command.options).map(
    ([name, { placeholder }]) =>
      [name, { type: placeholder === null ? 'boolean' : 'string' }] as const,
  );
  try {
    return parseArgs({
      args: [...args],
      options: { ...Object.fromEntries(own), ...COMMON_OPTIONS },
      allowPositionals: true,
    });
  } catch (error) {
    throw usageFailure(`${messageOf(error)}\nSee: tollgate ${command.name} --help`);
  }
}

function namePositionals(command: Command, given: readonly string[]): Record<string, string> {
  const missing = command.positionals.find((_, index) => (given[index] ?? '') === '');
  const help = `See: tollgate ${command.name} --help`;
  if (missing !== undefined) throw usageFailure(`<${missing}> is missing\n${help}`);
  if (given.length > command.positionals.length) {
    throw usageFailure(`"${given[command.positionals.length]}" is one argument too many\n${help}`);
  }
  return Object.fromEntries(command.positionals.map((name, index) => [name, given[index] ?? '']));
}

interface Presentation {
  readonly isJson: boolean;
  readonly isColoured: boolean;
  readonly url: string;
}

function present(command: Command, input: CommandInput, text: string, how: Presentation): string {
  // Without a selection the answer is passed on byte for byte, so that no number is reread.
  if (how.isJson && command.select === undefined) return `${text.trimEnd()}\n`;
  const whole = parseAnswer(text);
  const answer = command.select === undefined ? whole : command.select(whole, input);
  if (how.isJson) return `${JSON.stringify(answer)}\n`;
  const shown = command.render(answer, how.url);
  return how.isColoured ? embolden(shown) : shown;
}

function parseAnswer(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw new Failure(
      EXIT.refused,
      'the answer is not JSON: is TOLLGATE_URL the address of a Tollgate?',
    );
  }
}

/** Sets a head line in bold: a first line in capitals. */
function embolden(text: string): string {
  const [head = ''] = text.split('\n', 1);
  if (head === '' || head !== head.toUpperCase()) return text;
  return `\u001b[1m${head}\u001b[0m${text.slice(head.length)}`;
}
