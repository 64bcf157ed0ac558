import type { CatalogDocument } from './catalog-document.js';
import { fillIn, type CatalogPlaces } from './served-catalog.mapping.js';

/** What a schema cannot say: repeated names, routes to nowhere, base URLs, inputs without limit. */
export function faultsOfCatalog(document: CatalogDocument, places: CatalogPlaces): string[] {
  const modelNames = document.models.flatMap(({ id, aliases = [] }) => [id, ...aliases]);
  const providers = new Set(document.providers.map(({ name }) => name));
  return [
    ...repeated(modelNames).map((name) => `models: the name ${name} is given twice`),
    ...repeated(document.providers.map(({ name }) => name)).map(
      (name) => `providers: the name ${name} is given twice`,
    ),
    ...document.models.flatMap((model, at) =>
      model.routes
        .filter(({ provider }) => !providers.has(provider))
        .map(({ provider }) => `models/${at}/routes: ${provider} is not among the providers`),
    ),
    ...document.models.flatMap(({ limits }, at) =>
      limits?.hold_input_from_limit === true && typeof limits.max_input_tokens !== 'number'
        ? [`models/${at}/limits: hold_input_from_limit needs max_input_tokens`]
        : [],
    ),
    ...document.providers.flatMap(({ base_url: url }, at) =>
      isBaseUrl(fillIn(url, places))
        ? []
        : [`providers/${at}/base_url: ${url} is not an http or https URL`],
    ),
  ];
}

function repeated(names: readonly string[]): string[] {
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) twice.add(name);
    seen.add(name);
  }
  return [...twice];
}

function isBaseUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  const isPlain = username === '' && password === '' && search === '' && hash === '';
  return isPlain && (protocol === 'http:' || protocol === 'https:');
}
