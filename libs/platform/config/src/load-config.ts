import { createHash } from 'node:crypto';

import { validateSync } from 'class-validator';

import { messageOf } from '#libs/kernel';

import { variablesOf, type EnvVariable } from './env-variable.js';
import type { Environment } from './environment.js';

/** The exit code of a process whose configuration is faulty. */
export const EXIT_CONFIG = 2;

/** Every fault of a configuration at once; the process does not start. */
export class ConfigError extends Error {
  constructor(readonly faults: readonly string[]) {
    super(
      `the configuration has ${faults.length} fault(s):\n${faults.map((f) => `  - ${f}`).join('\n')}`,
    );
    this.name = 'ConfigError';
  }
}

/** Beyond the declared variables. */
export interface LoadOptions {
  /** A set variable with one of these prefixes that nobody declares is a fault: a misspelling. */
  readonly ownPrefixes?: readonly string[];
  /** Variables with such a prefix that belong to somebody else. */
  readonly alsoKnown?: readonly string[];
}

/**
 * Reads a configuration class from the environment.
 * An empty variable counts as unset. The result is frozen.
 * @throws ConfigError listing every fault: missing, malformed, out of bounds, unknown
 */
export function loadConfig<T extends object>(
  configClass: new () => T,
  environment: Environment,
  options: LoadOptions = {},
): T {
  const config = new configClass();
  const variables = variablesOf(configClass);
  const faults = variables.flatMap((variable) => assign(config, variable, environment));
  const faulty = new Set(faults.map((fault) => fault.split(' ', 1)[0]));
  for (const error of validateSync(config, { forbidUnknownValues: false })) {
    const variable = variables.find(({ property }) => property === error.property);
    const name = variable?.name ?? error.property;
    if (faulty.has(name)) continue;
    for (const message of Object.values(error.constraints ?? {})) {
      faults.push(`${name} ${message.replace(`${error.property} `, '')}`);
    }
  }
  faults.push(...unknownVariables(variables, environment, options));
  if (faults.length > 0) throw new ConfigError(faults);
  return Object.freeze(config);
}

function assign(config: object, variable: EnvVariable, environment: Environment): string[] {
  const given = environment[variable.name];
  const text = given === undefined || given === '' ? variable.fallback : given;
  if (text === undefined) return [`${variable.name} is required: ${variable.describe}`];
  try {
    Reflect.set(config, variable.property, text === null ? null : variable.parse(text));
    return [];
  } catch (error) {
    return [`${variable.name} ${messageOf(error)}: ${variable.describe}`];
  }
}

function unknownVariables(
  variables: readonly EnvVariable[],
  environment: Environment,
  options: LoadOptions,
): string[] {
  const known = new Set([...variables.map(({ name }) => name), ...(options.alsoKnown ?? [])]);
  return Object.keys(environment)
    .filter((name) => (options.ownPrefixes ?? []).some((prefix) => name.startsWith(prefix)))
    .filter((name) => !known.has(name))
    .map((name) => `${name} is not a known variable; is it misspelt?`);
}

/**
 * The effective configuration for people: one entry per variable, secrets as fingerprints (the first
 * 8 hex digits of their SHA-256).
 */
export function describeConfig(config: object): Record<string, string> {
  const variables = variablesOf(config.constructor as new () => object);
  return Object.fromEntries(
    variables.map((variable) => {
      const value: unknown = Reflect.get(config, variable.property);
      return [variable.name, variable.isSecret ? fingerprint(value) : shown(value)];
    }),
  );
}

function fingerprint(value: unknown): string {
  if (typeof value !== 'string') return '';
  return `sha256:${createHash('sha256').update(value).digest('hex').slice(0, 8)}`;
}

function shown(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}
