import { createHash } from 'node:crypto';

import type { KeyEventType, KeyStateV1 } from '#libs/events';
import { refused, ok, type KeyId, type Result } from '#libs/kernel';

import { normalAllowList } from './model-allow-list.js';
import { keyStateOf, type VirtualKey } from './virtual-key.js';

/** Milliseconds of a day. */
const DAY_MS = 86_400_000;

/** One change of a key: the state after it, and the event that says so; null = nothing changed. */
export interface KeyChange {
  readonly key: VirtualKey;
  readonly event: { readonly type: KeyEventType; readonly data: KeyStateV1 } | null;
}

/** A new key as asked for. */
export interface CreateKeyCommand {
  readonly keyId: KeyId;
  readonly orgId: string;
  readonly name: string;
  readonly userId: string;
  readonly teamId: string | null;
  /** The live team of that id; null when there is none. */
  readonly teamRecordId: string | null;
  /** > 0; null = never expires. */
  readonly expiresDays: number | null;
  readonly allowedModels: readonly string[] | null;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** What is minted for a key: its text, shown once, and what may be stored of it. */
export interface MintedSecret {
  readonly presented: string;
  /** Keyed digests under which the key is found. */
  readonly digests: readonly string[];
}

/** Members of a key that its owner may change; absent ones stay. */
export interface UpdateKeyCommand {
  readonly name?: string;
  readonly enabled?: boolean;
  readonly allowedModels?: readonly string[] | null;
  readonly metadata?: Readonly<Record<string, unknown>> | null;
}

/** A new key, enabled, at revision 1. */
export function createKey(
  command: CreateKeyCommand,
  minted: MintedSecret,
  nowMs: number,
): KeyChange {
  const { expiresDays, ...given } = command;
  const key: VirtualKey = {
    ...given,
    allowedModels: normalAllowList(command.allowedModels),
    secretName: secretNameOf(command, minted.presented),
    enabled: true,
    deletedAtMs: null,
    expiresAtMs: expiresDays === null ? null : nowMs + expiresDays * DAY_MS,
    rev: 1,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
  };
  return { key, event: { type: 'key.created.v1', data: keyStateOf(key, minted.digests) } };
}

/** The name under which team routes address a key; null outside teams. */
function secretNameOf(
  owner: Pick<VirtualKey, 'userId' | 'teamId' | 'teamRecordId'>,
  presented: string,
): string | null {
  if (owner.teamId === null || owner.teamRecordId === null) return null;
  const fingerprint = createHash('sha256').update(presented).digest('hex').slice(0, 8);
  return `apikey-${owner.userId}-${owner.teamId}-${fingerprint}`;
}

/**
 * Changes the given members. Enabling and disabling win the event's type; no difference, no event.
 * @returns `deleted` when the key is deleted
 */
export function updateKey(
  key: VirtualKey,
  command: UpdateKeyCommand,
  nowMs: number,
): Result<KeyChange, 'deleted'> {
  if (key.deletedAtMs !== null) return refused('deleted');
  const after: VirtualKey = {
    ...key,
    name: command.name ?? key.name,
    enabled: command.enabled ?? key.enabled,
    allowedModels:
      command.allowedModels === undefined
        ? key.allowedModels
        : normalAllowList(command.allowedModels),
    metadata: command.metadata === undefined ? key.metadata : (command.metadata ?? {}),
  };
  if (isSame(key, after)) return ok({ key, event: null });
  return ok(changed(after, updateType(key, after), nowMs));
}

function updateType(before: VirtualKey, after: VirtualKey): KeyEventType {
  if (before.enabled === after.enabled) return 'key.updated.v1';
  return after.enabled ? 'key.enabled.v1' : 'key.disabled.v1';
}

function isSame(before: VirtualKey, after: VirtualKey): boolean {
  return (
    before.name === after.name &&
    before.enabled === after.enabled &&
    JSON.stringify(before.allowedModels) === JSON.stringify(after.allowedModels) &&
    JSON.stringify(before.metadata) === JSON.stringify(after.metadata)
  );
}

/** Stops a key; it stays listed and can be enabled again. Repeating changes nothing. */
export function disableKey(key: VirtualKey, nowMs: number): KeyChange {
  if (key.deletedAtMs !== null || !key.enabled) return { key, event: null };
  return changed({ ...key, enabled: false }, 'key.disabled.v1', nowMs);
}

/**
 * Gives a key a new secret; id, settings, spend and status stay.
 * @param digests every digest under which the key is found from now on
 * @returns `deleted` when the key is deleted
 */
export function rotateKey(
  key: VirtualKey,
  minted: MintedSecret,
  nowMs: number,
): Result<KeyChange, 'deleted'> {
  if (key.deletedAtMs !== null) return refused('deleted');
  const secretName = secretNameOf(key, minted.presented);
  return ok(changed({ ...key, secretName }, 'key.rotated.v1', nowMs, minted.digests));
}

/** Deletes a key for good; repeating changes nothing. */
export function deleteKey(key: VirtualKey, nowMs: number): KeyChange {
  if (key.deletedAtMs !== null) return { key, event: null };
  return changed({ ...key, deletedAtMs: nowMs }, 'key.deleted.v1', nowMs);
}

function changed(
  after: VirtualKey,
  type: KeyEventType,
  nowMs: number,
  digests?: readonly string[],
): KeyChange {
  const key: VirtualKey = { ...after, rev: after.rev + 1, updatedAtMs: nowMs };
  return { key, event: { type, data: keyStateOf(key, digests) } };
}
