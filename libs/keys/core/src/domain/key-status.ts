/** What callers are told of a key. */
export type KeyStatus = 'inactive' | 'expired' | 'revoked' | 'active';

/** Every status, in order of precedence. */
export const KEY_STATUSES: readonly KeyStatus[] = ['inactive', 'expired', 'revoked', 'active'];

/** The facts a status is derived from. */
export interface KeyStatusFacts {
  readonly enabled: boolean;
  readonly deleted: boolean;
  /** Milliseconds UTC; null = never. */
  readonly expiresAtMs: number | null;
  /** Whether an enabled budget that covers the key is spent, or the key is revoked otherwise. */
  readonly blocked: boolean;
}

/** The derived status, first match wins; a key expires strictly after its instant. */
export function statusOfKey(facts: KeyStatusFacts, nowMs: number): KeyStatus {
  if (facts.deleted || !facts.enabled) return 'inactive';
  if (facts.expiresAtMs !== null && nowMs > facts.expiresAtMs) return 'expired';
  return facts.blocked ? 'revoked' : 'active';
}
