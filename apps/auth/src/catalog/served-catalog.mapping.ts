import { createHash } from 'node:crypto';

import { parseUsd } from '#libs/kernel';
import type { ServedCatalog, ServedModel, ServedProvider } from '#libs/keys/core';

import type { CatalogDocument, CatalogModel, CatalogProvider } from './catalog-document.js';

/** Values for the `${NAME}` places of base URLs. */
export type CatalogPlaces = Readonly<Record<string, string>>;

/** A faultless document as it is served; disabled models are left out. */
export function toServedCatalog(document: CatalogDocument, places: CatalogPlaces): ServedCatalog {
  const models = document.models.filter(({ enabled }) => enabled !== false).map(toModel);
  const providers = document.providers.map((provider) => toProvider(provider, places));
  const text = JSON.stringify({ document, providers });
  return { digest: createHash('sha256').update(text).digest('hex'), models, providers };
}

function toModel(model: CatalogModel): ServedModel {
  const { limits = {}, call_ceiling_usd: ceiling = null } = model;
  return {
    id: model.id,
    aliases: model.aliases ?? [],
    created: model.created ?? 0,
    limits: {
      contextTokens: limits.context_tokens ?? null,
      maxInputTokens: limits.max_input_tokens ?? null,
      maxOutputTokens: limits.max_output_tokens ?? null,
      holdInputFromLimit: limits.hold_input_from_limit ?? false,
    },
    callCeilingPicoUsd: ceiling === null ? null : parseUsd(ceiling),
    routes: model.routes
      .toSorted((a, b) => (a.order ?? 0) - (b.order ?? 0))
      .map((route) => ({ provider: route.provider, model: route.model })),
  };
}

function toProvider(provider: CatalogProvider, places: CatalogPlaces): ServedProvider {
  return {
    name: provider.name,
    type: provider.type,
    baseUrl: fillIn(provider.base_url, places).replace(/\/+$/, ''),
    credentialEnv: provider.credential_env ?? null,
    usageInStream: provider.usage_in_stream ?? 'inject',
  };
}

/** A text with its `${NAME}` places filled in; unknown ones stay as they are. */
export function fillIn(text: string, places: CatalogPlaces): string {
  return text.replace(/\$\{([A-Z0-9_]+)\}/g, (place, name: string) => places[name] ?? place);
}
