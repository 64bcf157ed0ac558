import type { LostRange } from '#libs/spool/core';

import type { WriterData } from './writer-protocol.js';

/** Placeholder. */
export function salvage(data: WriterData): LostRange[] {
  throw new Error(`the spool in ${data.directory} is damaged`);
}
