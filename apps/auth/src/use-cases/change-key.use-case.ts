import type { Clock, KeyId, PicoUsd } from '#libs/kernel';
import type { PostgresKeyStore } from '#libs/keys/adapters';
import {
  disableKey,
  updateKey,
  type KeyChange,
  type UpdateKeyCommand,
  type VirtualKey,
} from '#libs/keys/core';
import type { EntityTransaction, ServiceDataSource } from '#libs/platform/postgres';

import { ORGANISATION_ID } from '../auth-options.js';
import { keyDeleted, keyNotFound } from '../errors.js';
import type { BudgetChanges } from './budget-changes.js';
import type { ControlJournal } from './control-journal.js';
import type { KeyView, LiveFigures } from './live-figures.js';

/** Members to change; an absent one stays. */
export interface ChangeKeyInput {
  readonly actor: string;
  readonly keyId: KeyId;
  readonly change: UpdateKeyCommand;
  /** Undefined = as it is; null = no budget. */
  readonly maxBudgetPicoUsd: PicoUsd | null | undefined;
}

/** Changes settings of a key and its budget in one transaction. */
export class ChangeKey {
  constructor(
    private readonly source: ServiceDataSource,
    private readonly keys: PostgresKeyStore,
    private readonly budgets: BudgetChanges,
    private readonly figures: LiveFigures,
    private readonly journal: ControlJournal,
    private readonly clock: Clock,
  ) {}

  /** @throws AppError `keys.not_found`, `keys.deleted` */
  async execute(input: ChangeKeyInput): Promise<KeyView> {
    const before = await this.keys.find(ORGANISATION_ID, input.keyId);
    if (before === null) throw keyNotFound();
    const facts = await this.figures.factsOf([before]);
    const key = await this.source.transaction(async (tx) => {
      const locked = await this.lock(tx, input.keyId);
      const change = updateKey(locked, input.change, this.clock.nowMs());
      if (!change.ok) throw keyDeleted();
      await this.write(tx, input.actor, change.value);
      if (input.maxBudgetPicoUsd !== undefined) {
        await this.budgets.setKeyLimit(tx, input.actor, input.keyId, input.maxBudgetPicoUsd);
      }
      return change.value.key;
    });
    await this.budgets.inForce();
    const [view] = await this.figures.viewsOf([key], facts);
    return view!;
  }

  /** Stops a key; repeating changes nothing. @throws AppError `keys.not_found` */
  async disable(actor: string, keyId: KeyId): Promise<void> {
    await this.source.transaction(async (tx) => {
      const locked = await this.lock(tx, keyId);
      await this.write(tx, actor, disableKey(locked, this.clock.nowMs()));
    });
  }

  private async lock(tx: EntityTransaction, keyId: KeyId): Promise<VirtualKey> {
    const key = await this.keys.lock(tx, ORGANISATION_ID, keyId);
    if (key === null) throw keyNotFound();
    return key;
  }

  private async write(tx: EntityTransaction, actor: string, change: KeyChange): Promise<void> {
    if (change.event === null) return;
    await this.keys.update(tx, change.key);
    await this.journal.record(tx, actor, [{ ...change.event, subject: change.key.keyId }]);
  }
}
