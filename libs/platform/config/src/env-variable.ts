import 'reflect-metadata';

const VARIABLES = Symbol('environment variables of a configuration class');

/** How one member of a configuration class is read. */
export interface EnvVariable {
  readonly property: string;
  readonly name: string;
  /** One phrase that says what belongs there, shown with a fault. */
  readonly describe: string;
  /** Text used when the variable is not set; undefined = the variable is required. */
  readonly fallback: string | null | undefined;
  readonly isSecret: boolean;
  /** @throws Error whose message says what is wrong with the text */
  readonly parse: (text: string) => unknown;
}

/** What a declaration says beside the name of its variable. */
export interface EnvOptions {
  readonly describe: string;
  /** Used when unset; `null` makes the member null; without it the variable is required. */
  readonly fallback?: string | null;
  /** Shown only as a fingerprint. @default false */
  readonly isSecret?: boolean;
}

function declare(
  name: string,
  options: EnvOptions,
  parse: (text: string) => unknown,
): PropertyDecorator {
  return (prototype, property) => {
    const inherited = (Reflect.getMetadata(VARIABLES, prototype) ?? []) as readonly EnvVariable[];
    const variable: EnvVariable = {
      property: String(property),
      name,
      describe: options.describe,
      fallback: options.fallback,
      isSecret: options.isSecret ?? false,
      parse,
    };
    Reflect.defineMetadata(VARIABLES, [...inherited, variable], prototype);
  };
}

/** The variables a configuration class declares, in order of declaration. */
export function variablesOf(configClass: new () => object): readonly EnvVariable[] {
  return (Reflect.getMetadata(VARIABLES, configClass.prototype) ?? []) as readonly EnvVariable[];
}

/**
 * A member of a type of its own.
 * @param parse throws an Error whose message says what is wrong with the text
 */
export function EnvValue(
  name: string,
  parse: (text: string) => unknown,
  options: EnvOptions,
): PropertyDecorator {
  return declare(name, options, parse);
}

/** A member of type string. */
export function EnvText(name: string, options: EnvOptions): PropertyDecorator {
  return declare(name, options, (text) => text);
}

/** A member of type number: a decimal integer, within 2^53. */
export function EnvInteger(name: string, options: EnvOptions): PropertyDecorator {
  return declare(name, options, (text) => {
    const value = Number(text);
    if (/^-?\d+$/.test(text) && Number.isSafeInteger(value)) return value;
    throw new Error('is not a whole number');
  });
}

/** A member of type boolean: `true` or `false`. */
export function EnvFlag(name: string, options: EnvOptions): PropertyDecorator {
  return declare(name, options, (text) => {
    if (text === 'true' || text === 'false') return text === 'true';
    throw new Error('is neither true nor false');
  });
}

/** A member of type string: an absolute URL of one of the schemes, without trailing slash. */
export function EnvUrl(
  name: string,
  schemes: readonly string[],
  options: EnvOptions,
): PropertyDecorator {
  return declare(name, options, (text) => {
    if (!URL.canParse(text) || !schemes.includes(new URL(text).protocol.replace(':', ''))) {
      throw new Error(
        `is not a URL that begins with ${schemes.map((s) => `${s}://`).join(' or ')}`,
      );
    }
    return text.replace(/\/+$/, '');
  });
}

/** A member of type readonly string[]: `host:port` each, comma-separated, at least one. */
export function EnvAddresses(name: string, options: EnvOptions): PropertyDecorator {
  return declare(name, options, (text) => {
    const addresses = text.split(',').map((address) => address.trim());
    const isAddress = (address: string): boolean => {
      const port = Number(/^[^\s:/@]+:(\d{1,5})$/.exec(address)?.[1] ?? 0);
      return port >= 1 && port <= 65_535;
    };
    if (addresses.every(isAddress)) return addresses;
    throw new Error('is not a list of host:port, separated by commas');
  });
}
