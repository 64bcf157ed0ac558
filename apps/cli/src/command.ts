import type { ApiRequest } from './api.js';

/** An option of a command, `--<name> <placeholder>` or a bare `--<name>`. */
export interface OptionSpec {
  /** What stands for the value in the help; null = the option takes none. */
  readonly placeholder: string | null;
  readonly describe: string;
}

/** What was given on the command line, checked against the command's declaration. */
export interface CommandInput {
  /** By name of the positional; all are present and not empty. */
  readonly positionals: Readonly<Record<string, string>>;
  /** Options with a value that were given. */
  readonly values: Readonly<Record<string, string | undefined>>;
  /** Bare options that were given. */
  readonly flags: ReadonlySet<string>;
}

/** The next look at work that goes on. */
export interface FollowUp {
  readonly request: ApiRequest;
  /** One line for people, on standard error, whenever it changes. */
  readonly progress: string;
}

/** One command: it says one request, and how to show the answer. Both are pure. */
export interface Command {
  /** Noun and verb, `keys create`. */
  readonly name: string;
  readonly summary: string;
  /** Names of the arguments, in order; all are required. */
  readonly positionals: readonly string[];
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** A line that works as pasted once ids are replaced. */
  readonly example: string;
  /** @throws Failure 2 when the input makes no request */
  request(input: CommandInput): ApiRequest;
  /**
   * What to ask half a second later to learn whether the work is over, and a line that says how far it
   * is; null = it is over. Without it the first answer is the last.
   */
  follow?(answer: unknown, input: CommandInput): FollowUp | null;
  /**
   * The part of the answer that is shown. Without it the whole answer, byte for byte.
   * @throws Failure 1 when the answer does not hold what was asked for
   */
  select?(answer: unknown, input: CommandInput): unknown;
  /** The text for people. @param url address of the Tollgate that answered */
  render(answer: unknown, url: string): string;
}

/** A path of literal parts and encoded values. */
export function path(parts: TemplateStringsArray, ...values: readonly string[]): string {
  return parts.reduce((text, part, n) => text + encodeURIComponent(values[n - 1] ?? '') + part);
}

/** An option with a value. */
export function option(placeholder: string, describe: string): OptionSpec {
  return { placeholder, describe };
}

/** A bare option. */
export function flag(describe: string): OptionSpec {
  return { placeholder: null, describe };
}

/** A comma list as its parts, undefined when the option was not given. */
export function listOf(text: string | undefined): readonly string[] | undefined {
  return text?.split(',').map((part) => part.trim());
}
