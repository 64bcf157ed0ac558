import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { variablesOf, type EnvVariable } from '#libs/platform/config';

import { PROJECT, textOf } from './dockerfile.js';

/** The module with the configuration class of an image, below dist. */
const CONFIG_OF: Readonly<Record<string, string>> = {
  migrate: 'apps/standalone/src/migrate.config.js',
};

/**
 * The configuration class of an image's process. Looked up by its path: an app hands its
 * configuration to nobody but its own start.
 */
export async function configurationOf(image: string): Promise<new () => object> {
  const path = CONFIG_OF[image] ?? `apps/${image}/src/${image}.config.js`;
  const file = join(PROJECT, 'dist', path);
  if (!existsSync(file)) throw new Error(`${image} has no configuration in ${path}`);
  const exported = Object.values((await import(file)) as Record<string, unknown>);
  const classes = exported.filter(
    (one): one is new () => object => typeof one === 'function' && String(one).startsWith('class '),
  );
  const configuration = classes.find((one) => variablesOf(one).length > 0);
  if (configuration === undefined) throw new Error(`${path} declares no variables`);
  return configuration;
}

/** What an image's process reads from its environment. */
export async function settingsOf(image: string): Promise<readonly EnvVariable[]> {
  return variablesOf(await configurationOf(image));
}

/** Variables with credentials of providers; the catalogue names them, the proxy reads them. */
export function credentialVariables(): readonly string[] {
  const { providers } = JSON.parse(textOf('catalog/default.json')) as {
    readonly providers: readonly { readonly credential_env: string | null }[];
  };
  return providers.flatMap(({ credential_env: name }) => (name === null ? [] : [name]));
}
