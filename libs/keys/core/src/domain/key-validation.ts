import { uuidHex } from '#libs/kernel';

import { idInsideKey, reasonOfUnknownKey, type UnknownKeyReason } from './key-format.js';
import type { KeyStatus } from './key-status.js';

/** Why a presented key is not valid; the literals of the validation route. */
export type KeyRefusal =
  | UnknownKeyReason
  | 'Key mismatch'
  | 'Key is inactive'
  | 'Key has expired'
  | 'Budget exceeded';

/** What the lookup of a presented string found. */
export interface FoundKey {
  readonly keyId: string;
  readonly status: KeyStatus;
}

const REFUSAL_OF_STATUS: Readonly<Record<KeyStatus, KeyRefusal | null>> = {
  inactive: 'Key is inactive',
  expired: 'Key has expired',
  revoked: 'Budget exceeded',
  active: null,
};

/**
 * Judges a presented string after its lookup.
 * @param found null when no key has its digest
 * @returns null for a valid key, else the first reason that holds
 */
export function refusalOfKey(presented: string, found: FoundKey | null): KeyRefusal | null {
  if (found === null) return reasonOfUnknownKey(presented);
  const inside = idInsideKey(presented);
  if (inside !== null && inside !== uuidHex(found.keyId)) return 'Key mismatch';
  return REFUSAL_OF_STATUS[found.status];
}
