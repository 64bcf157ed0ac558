import { parse } from 'yaml';

import { textOf } from './dockerfile.js';

/** What the tests look at of a service of the compose file. */
export interface ComposeService {
  readonly image?: string;
  readonly build?: {
    readonly context: string;
    readonly dockerfile: string;
    readonly target: string;
  };
  readonly container_name?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly networks?: readonly string[];
  readonly ports?: readonly string[];
  readonly profiles?: readonly string[];
  readonly volumes?: readonly string[];
  readonly user?: string;
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly stop_grace_period?: string;
  readonly restart?: string;
  readonly deploy?: {
    readonly resources?: { readonly limits?: Readonly<Record<string, string | number>> };
  };
}

/** The compose file. */
export interface Compose {
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly networks: Readonly<Record<string, { readonly internal?: boolean }>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

/** docker-compose.yml with its anchors resolved and its variables as they are written. */
export function composeFile(): Compose {
  return parse(textOf('docker-compose.yml'), { merge: true }) as Compose;
}

/** A use of a variable in the compose file. */
export interface VariableUse {
  readonly name: string;
  /** Null: compose refuses to start without it. */
  readonly fallback: string | null;
}

const USE = /\$\{([A-Z_]+)(?::-([^}]*)|:\?[^}]+)?\}/g;

/** Every use of a variable in a text. */
export function variableUses(text: string): readonly VariableUse[] {
  return [...text.matchAll(USE)].map(([whole, name = '', fallback]) => ({
    name,
    fallback: whole.includes(':?') ? null : (fallback ?? ''),
  }));
}

/** A text with its variables replaced, as compose does it. @throws Error for a required one not set */
export function interpolate(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replace(USE, (whole, name: string, fallback: string | undefined) => {
    const value = variables[name];
    if (value !== undefined && value !== '') return value;
    if (whole.includes(':?')) throw new Error(`${name} is required`);
    return fallback ?? '';
  });
}

/** The environment that compose gives a service. */
export function environmentOf(
  service: ComposeService,
  variables: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(service.environment ?? {}).map(([name, value]) => [
      name,
      interpolate(value, variables),
    ]),
  );
}

/** The variables of docker/.env.example as they are written there. */
export function envExample(): Readonly<Record<string, string>> {
  return Object.fromEntries(
    textOf('docker/.env.example')
      .split('\n')
      .filter((line) => /^[A-Z_]+=/.test(line))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

/** A filled-in .env: secrets that pass for some, everything else as the example has it. */
export const FILLED_IN: Readonly<Record<string, string>> = {
  ...envExample(),
  SERVICE_SECRET: 'service-secret-of-the-deployment',
  ADMIN_API_KEY: 'operator-secret-of-the-deployment',
  KEY_PEPPERS: `v1:${Buffer.alloc(32, 7).toString('base64')}`,
  POSTGRES_PASSWORD: 'postgrespassword',
  CLICKHOUSE_WRITER_PASSWORD: 'writerpassword',
  CLICKHOUSE_READER_PASSWORD: 'readerpassword',
};
