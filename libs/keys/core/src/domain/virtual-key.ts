import { toRfc3339, type KeyId } from '#libs/kernel';
import type { KeyStateV1 } from '#libs/events';

/** A key as the control plane keeps it; never its secret. */
export interface VirtualKey {
  readonly keyId: KeyId;
  readonly orgId: string;
  /** 1 to 255 characters, trimmed. */
  readonly name: string;
  /** The owner, 1 to 255 characters. */
  readonly userId: string;
  /** A team, or a mere reporting label; null = none. */
  readonly teamId: string | null;
  /** The record of the team the key belongs to; null for a label that named no team at creation. */
  readonly teamRecordId: string | null;
  /** `apikey-<user>-<team>-<8 hex>`; null for keys outside every team. */
  readonly secretName: string | null;
  readonly enabled: boolean;
  /** Milliseconds UTC; null = not deleted. Deletion is final. */
  readonly deletedAtMs: number | null;
  /** Milliseconds UTC; null = never. */
  readonly expiresAtMs: number | null;
  /** Exact names, prefixes ending in `*`, or `*` alone; never empty. */
  readonly allowedModels: readonly string[];
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Grows by one with each change; 1 at creation. */
  readonly rev: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** The public state of a key as events carry it. @param digests on create and rotate only */
export function keyStateOf(key: VirtualKey, digests?: readonly string[]): KeyStateV1 {
  return {
    key_id: key.keyId,
    org_id: key.orgId,
    name: key.name,
    user_id: key.userId,
    team_id: key.teamId,
    enabled: key.enabled,
    deleted: key.deletedAtMs !== null,
    expires_at: key.expiresAtMs === null ? null : toRfc3339(key.expiresAtMs),
    allowed_models: key.allowedModels,
    rev: key.rev,
    ...(digests === undefined ? {} : { digests }),
  };
}
