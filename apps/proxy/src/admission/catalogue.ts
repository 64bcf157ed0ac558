import type { ServedCatalog, ServedModel, ServedProvider } from '#libs/keys/core';
import type { PriceIndex } from '#libs/pricing/core';
import type { OutputLimitMember } from '#libs/providers/core';

/** Where a model's requests go, with everything computed that does not depend on the request. */
export interface ModelRoute {
  readonly model: ServedModel;
  readonly provider: ServedProvider;
  /** The model's name at the provider. */
  readonly upstreamModel: string;
  readonly origin: string;
  readonly path: string;
  /** Our own headers but for the attempt's id, names and values in turn. */
  readonly headers: readonly string[];
  /** The member a limit is written into when the client used none. */
  readonly limitMember: OutputLimitMember;
  /** Members `provider` and `model` of an event: `"provider":…,"model":…,`. */
  readonly eventPart: string;
}

/** A model by one of its names. */
export interface CatalogueEntry {
  readonly model: ServedModel;
  /** The id and every alias. */
  readonly names: readonly string[];
  /** Null while no provider of the model's routes has what it needs. */
  readonly route: ModelRoute | null;
}

/** Models, providers and prices as of one moment; replaced whole, never changed. */
export interface Catalogue {
  readonly digest: string;
  readonly prices: PriceIndex;
  readonly byName: ReadonlyMap<string, CatalogueEntry>;
  /** Ascending by id. */
  readonly models: readonly CatalogueEntry[];
}

/** @param credentialOf the credential in an environment variable; null = not set */
export function catalogueOf(
  served: ServedCatalog,
  prices: PriceIndex,
  credentialOf: (variable: string) => string | null,
): Catalogue {
  const providers = new Map(served.providers.map((provider) => [provider.name, provider]));
  const byName = new Map<string, CatalogueEntry>();
  const models = served.models.map((model) => {
    const names = [model.id, ...model.aliases];
    const entry = { model, names, route: firstRoute(model, providers, credentialOf) };
    for (const name of names) byName.set(name, entry);
    return entry;
  });
  models.sort((a, b) => (a.model.id < b.model.id ? -1 : 1));
  return { digest: served.digest, prices, byName, models };
}

function firstRoute(
  model: ServedModel,
  providers: ReadonlyMap<string, ServedProvider>,
  credentialOf: (variable: string) => string | null,
): ModelRoute | null {
  for (const { provider: name, model: upstreamModel } of model.routes) {
    const provider = providers.get(name);
    if (provider === undefined) continue;
    const { credentialEnv } = provider;
    const credential = credentialEnv === null ? null : credentialOf(credentialEnv);
    if (credentialEnv !== null && credential === null) continue;
    return routeOf(model, provider, upstreamModel, credential);
  }
  return null;
}

function routeOf(
  model: ServedModel,
  provider: ServedProvider,
  upstreamModel: string,
  credential: string | null,
): ModelRoute {
  const url = new URL(`${provider.baseUrl}/chat/completions`);
  const headers = ['content-type', 'application/json', 'accept-encoding', 'identity'];
  if (credential !== null) headers.push('authorization', `Bearer ${credential}`);
  const named = JSON.stringify({ provider: provider.name, model: model.id });
  return {
    model,
    provider,
    upstreamModel,
    origin: url.origin,
    path: `${url.pathname}${url.search}`,
    headers,
    limitMember: provider.type === 'openai' ? 'max_completion_tokens' : 'max_tokens',
    eventPart: `${named.slice(1, -1)},`,
  };
}
