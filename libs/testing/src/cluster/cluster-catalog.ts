import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A model that the simulator serves, with the sizes that it reports for it. */
export interface ClusterModel {
  readonly id: string;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Decimal dollars per million tokens. */
  readonly inputUsdPerMillion: string;
  readonly outputUsdPerMillion: string;
}

/** Where catalogue and price sheets of a cluster lie. */
export interface CatalogFiles {
  readonly catalogFile: string;
  readonly priceSheetsDir: string;
}

/** Writes the catalogue and the price sheets of these models below a folder. */
export function writeCatalog(folder: string, models: readonly ClusterModel[]): CatalogFiles {
  const catalogFile = join(folder, 'catalog.json');
  const priceSheetsDir = join(folder, 'prices');
  mkdirSync(priceSheetsDir);
  writeFileSync(
    catalogFile,
    JSON.stringify({ models: models.map(entryOf), providers: [PROVIDER] }),
  );
  writeFileSync(join(priceSheetsDir, 'simulator.json'), JSON.stringify(sheetsOf(models)));
  return { catalogFile, priceSheetsDir };
}

const PROVIDER = {
  name: 'simulator',
  type: 'openai',
  base_url: '${SIMULATOR_URL}/v1',
  credential_env: null,
  usage_in_stream: 'inject',
};

function entryOf({ id, inputTokens, outputTokens }: ClusterModel): object {
  return {
    id,
    created: 1_700_000_000,
    limits: {
      context_tokens: inputTokens + outputTokens,
      max_input_tokens: inputTokens,
      max_output_tokens: outputTokens,
      hold_input_from_limit: true,
    },
    routes: [{ provider: 'simulator', model: id }],
  };
}

function sheetsOf(models: readonly ClusterModel[]): object {
  return {
    provider: 'simulator',
    currency: 'USD',
    sheets: models.map((model) => ({
      model: model.id,
      effective_from: '2026-01-01T00:00:00Z',
      source: { url: 'https://example.com/prices', read_on: '2026-01-01' },
      tiers: [
        {
          service_tier: 'standard',
          input_from: 0,
          usd_per_million_tokens: {
            input_text: model.inputUsdPerMillion,
            output_text: model.outputUsdPerMillion,
          },
        },
      ],
    })),
  };
}
