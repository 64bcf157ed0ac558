import type { KeyId, Random } from '#libs/kernel';
import type { NewDigest } from '#libs/keys/adapters';
import { keyDigest, mintKey, type MintedSecret, type Peppers } from '#libs/keys/core';

/** A fresh secret: what its holder is shown once, and what is stored of it. */
export interface FreshSecret extends MintedSecret {
  readonly stored: NewDigest;
}

/** Mints a secret; its digest is made with the newest pepper. */
export function freshSecret(peppers: Peppers, random: Random, keyId: KeyId): FreshSecret {
  const [newest] = peppers;
  const presented = mintKey(random, keyId);
  const digest = keyDigest(newest, presented);
  return { presented, digests: [digest], stored: { digest, pepperVersion: newest.version } };
}
