import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Ajv, type ErrorObject } from 'ajv';

import { messageOf } from '#libs/kernel';
import type { ServedCatalog } from '#libs/keys/core';
import { ConfigError, projectRoot } from '#libs/platform/config';

import type { CatalogDocument } from './catalog-document.js';
import { faultsOfCatalog } from './catalog-faults.js';
import { toServedCatalog, type CatalogPlaces } from './served-catalog.mapping.js';

/** Where the packaged catalogue and the schema of all catalogues lie. */
const CATALOG_FOLDER = 'catalog';

/**
 * Reads the catalogue.
 * @param file `CATALOG_FILE`; null = the packaged one
 * @param places values for `${NAME}` in base URLs, for example `SIMULATOR_URL`
 * @throws ConfigError listing every fault of the document
 */
export async function loadCatalog(
  file: string | null,
  places: CatalogPlaces,
): Promise<ServedCatalog> {
  const folder = join(projectRoot(), CATALOG_FOLDER);
  const schema = JSON.parse(await readFile(join(folder, 'catalog.schema.json'), 'utf8')) as object;
  const document = await readDocument(file ?? join(folder, 'default.json'));
  const validate = new Ajv({
    allErrors: true,
    strict: true,
    allowUnionTypes: true,
  }).compile(schema);
  validate(document);
  const errors = validate.errors ?? [];
  // Beside unknown members everything has its shape, so the rest can be judged as well.
  const hasShape = errors.every(({ keyword }) => keyword === 'additionalProperties');
  const faults = errors.map(toFault);
  if (hasShape) faults.push(...faultsOfCatalog(document as CatalogDocument, places));
  if (faults.length > 0) throw faulty(faults);
  return toServedCatalog(document as CatalogDocument, places);
}

async function readDocument(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw faulty([`${file} cannot be read: ${messageOf(error)}`]);
  }
}

function toFault(error: ErrorObject): string {
  const place = error.instancePath === '' ? 'the document' : error.instancePath.slice(1);
  const unknown: unknown = error.params['additionalProperty'];
  const which = typeof unknown === 'string' ? ` (${unknown})` : '';
  return `${place}: ${error.message ?? 'is not valid'}${which}`;
}

function faulty(faults: readonly string[]): ConfigError {
  return new ConfigError(faults.map((fault) => `CATALOG_FILE ${fault}`));
}
