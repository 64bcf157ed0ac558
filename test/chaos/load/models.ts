import type { ClusterModel } from '#libs/testing';

const PRICES = { inputUsdPerMillion: '1.5', outputUsdPerMillion: '2.5' };

/** Answers at once. */
export const QUICK: ClusterModel = {
  id: 'fake-in10-out20',
  inputTokens: 10,
  outputTokens: 20,
  ...PRICES,
};

/** Enough output for several marks of progress. */
export const LONG: ClusterModel = {
  id: 'fake-in30-out900',
  inputTokens: 30,
  outputTokens: 900,
  ...PRICES,
};

/** Every model of the load. */
export const MODELS = [QUICK, LONG];
