import type { KeyId } from '#libs/kernel';
import type { VirtualKey } from '#libs/keys/core';

import type { VirtualKeyEntity } from './virtual-key.entity.js';

/** A key as its row says. */
export function fromVirtualKeyEntity(row: VirtualKeyEntity): VirtualKey {
  const { userEmail: _email, ...key } = row;
  return { ...key, keyId: row.keyId as KeyId };
}

/** The columns of a key that its owner's changes write. */
export function toVirtualKeyColumns(key: VirtualKey): Omit<VirtualKeyEntity, 'userEmail'> {
  return { ...key };
}
