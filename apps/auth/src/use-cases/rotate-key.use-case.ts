import type { Clock, KeyId, Random } from '#libs/kernel';
import type { PostgresKeyStore } from '#libs/keys/adapters';
import { keyStateOf, rotateKey, type Peppers } from '#libs/keys/core';
import type { EntityTransaction, ServiceDataSource } from '#libs/platform/postgres';

import { ORGANISATION_ID } from '../auth-options.js';
import { keyDeleted, keyNotFound } from '../errors.js';
import type { ControlJournal } from './control-journal.js';
import type { CreateKeyResult } from './create-key.use-case.js';
import { freshSecret } from './key-secrets.js';
import type { KeyView, LiveFigures } from './live-figures.js';

/** A key to give a new secret. */
export interface RotateKeyInput {
  readonly actor: string;
  readonly keyId: KeyId;
  /** How long the former secret stays valid, seconds; 0 = it ends now. */
  readonly graceSeconds: number;
  /** Runs last in the transaction, with the key as it will be answered. */
  readonly onRotated?: (tx: EntityTransaction, view: KeyView) => Promise<void>;
}

/** Gives a key a new secret; id, settings and spend stay. */
export class RotateKey {
  constructor(
    private readonly source: ServiceDataSource,
    private readonly keys: PostgresKeyStore,
    private readonly figures: LiveFigures,
    private readonly journal: ControlJournal,
    private readonly peppers: Peppers,
    private readonly clock: Clock,
    private readonly random: Random,
  ) {}

  /**
   * Everything that can fail is asked before the commit: a secret that was stored and not shown
   * would be lost.
   * @throws AppError `keys.not_found`, `keys.deleted`
   */
  async execute(input: RotateKeyInput): Promise<CreateKeyResult> {
    const before = await this.keys.find(ORGANISATION_ID, input.keyId);
    if (before === null) throw keyNotFound();
    const [view] = await this.figures.viewsOf([before], await this.figures.factsOf([before]));
    const secret = freshSecret(this.peppers, this.random, input.keyId);
    const after = await this.source.transaction(async (tx) => {
      const nowMs = this.clock.nowMs();
      const locked = await this.keys.lock(tx, ORGANISATION_ID, input.keyId);
      if (locked === null) throw keyNotFound();
      const rotated = rotateKey(locked, secret, nowMs);
      if (!rotated.ok) throw keyDeleted();
      const { key } = rotated.value;
      await this.keys.update(tx, key);
      const graceUntilMs = input.graceSeconds > 0 ? nowMs + input.graceSeconds * 1000 : null;
      await this.keys.replaceDigest(tx, key, secret.stored, graceUntilMs);
      const digests = await this.keys.digestsOf(tx, key.keyId);
      const data = keyStateOf(key, digests);
      await this.journal.record(tx, input.actor, [
        { type: 'key.rotated.v1', subject: key.keyId, data },
      ]);
      const rotatedView: KeyView = { ...view!, key };
      await input.onRotated?.(tx, rotatedView);
      return rotatedView;
    });
    return { secret: secret.presented, view: after };
  }
}
