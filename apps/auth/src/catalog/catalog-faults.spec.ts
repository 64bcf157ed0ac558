import { expect, test } from '@jest/globals';

import type { CatalogDocument } from './catalog-document.js';
import { faultsOfCatalog } from './catalog-faults.js';
import { toServedCatalog } from './served-catalog.mapping.js';

const DOCUMENT: CatalogDocument = {
  models: [
    {
      id: 'm',
      aliases: ['latest'],
      call_ceiling_usd: '0.5',
      routes: [
        { provider: 'p', model: 'late', order: 1 },
        { provider: 'p', model: 'early' },
      ],
    },
    { id: 'off', enabled: false, routes: [{ provider: 'p', model: 'off' }] },
  ],
  providers: [{ name: 'p', type: 'openai', base_url: '${PLACE}/v1/' }],
};

test('routes come in order, places are filled in, disabled models are not served', () => {
  const places = { PLACE: 'http://127.0.0.1:1' };
  expect(faultsOfCatalog(DOCUMENT, places)).toEqual([]);
  const served = toServedCatalog(DOCUMENT, places);
  expect(served.models).toEqual([
    {
      id: 'm',
      aliases: ['latest'],
      created: 0,
      limits: {
        contextTokens: null,
        maxInputTokens: null,
        maxOutputTokens: null,
        holdInputFromLimit: false,
      },
      callCeilingPicoUsd: 500_000_000_000n,
      routes: [
        { provider: 'p', model: 'early' },
        { provider: 'p', model: 'late' },
      ],
    },
  ]);
  expect(served.providers).toEqual([
    {
      name: 'p',
      type: 'openai',
      baseUrl: 'http://127.0.0.1:1/v1',
      credentialEnv: null,
      usageInStream: 'inject',
    },
  ]);
  expect(toServedCatalog(DOCUMENT, { PLACE: 'http://x' }).digest).not.toBe(served.digest);
});

test('repeated names, routes to nowhere, bad URLs and holds without a limit are all faults at once', () => {
  const model = { id: 'm', routes: [{ provider: 'nowhere', model: 'x' }] };
  const document: CatalogDocument = {
    models: [model, { ...model, id: 'n', aliases: ['m'], limits: { hold_input_from_limit: true } }],
    providers: [
      { name: 'p', type: 't', base_url: '${UNKNOWN}' },
      { name: 'p', type: 't', base_url: 'http://user:secret@host' },
    ],
  };
  expect(faultsOfCatalog(document, {})).toHaveLength(7);
});
