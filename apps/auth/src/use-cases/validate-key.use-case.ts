import type { Clock } from '#libs/kernel';
import type { PostgresKeyStore } from '#libs/keys/adapters';
import {
  keyDigests,
  MAX_PRESENTED_CHARS,
  reasonOfUnknownKey,
  refusalOfKey,
  type KeyRefusal,
  type Peppers,
} from '#libs/keys/core';

import type { KeyView, LiveFigures } from './live-figures.js';

/** What a presented string is worth. */
export interface ValidateKeyResult {
  /** Null for a valid key. */
  readonly refusal: KeyRefusal | null;
  /** The key, once it is known and its id is its own; null before. */
  readonly view: KeyView | null;
}

/** Judges a presented key without using it. */
export class ValidateKey {
  constructor(
    private readonly keys: PostgresKeyStore,
    private readonly figures: LiveFigures,
    private readonly peppers: Peppers,
    private readonly clock: Clock,
  ) {}

  /** @throws AppError `rpc.unavailable` when a known key cannot be judged now */
  async execute(presented: string): Promise<ValidateKeyResult> {
    if (presented.length > MAX_PRESENTED_CHARS) {
      return { refusal: reasonOfUnknownKey(presented), view: null };
    }
    const digests = keyDigests(this.peppers, presented);
    const found = await this.keys.findByDigest(digests, this.clock.nowMs());
    if (found === null) return { refusal: refusalOfKey(presented, null), view: null };
    const { key } = found;
    const [view] = await this.figures.viewsOf([key], await this.figures.factsOf([key]));
    const refusal = refusalOfKey(presented, { keyId: key.keyId, status: view!.status });
    return { refusal, view: refusal === 'Key mismatch' ? null : view! };
  }
}
