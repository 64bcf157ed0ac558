import { openChdbDatabase } from '#libs/testing';
import { usageReaderContract, usageStoreContract } from '#libs/usage/contract';

import { openUsageHarness } from './usage-engine-harness.js';

const open = () => {
  const { engine, drop } = openChdbDatabase();
  return openUsageHarness(engine, drop);
};

usageStoreContract('embedded', open);
usageReaderContract('embedded', open);
