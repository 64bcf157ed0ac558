import { toRfc3339, uuidV4, type Clock, type KeyId, type PicoUsd, type Random } from '#libs/kernel';
import type { PostgresKeyStore } from '#libs/keys/adapters';
import { createKey, type Peppers } from '#libs/keys/core';
import type { EntityTransaction, ServiceDataSource } from '#libs/platform/postgres';
import type { PostgresTeamStore } from '#libs/teams/adapters';

import { ORGANISATION_ID } from '../auth-options.js';
import { accessDenied } from '../errors.js';
import type { BudgetChanges } from './budget-changes.js';
import type { ControlJournal } from './control-journal.js';
import { freshSecret } from './key-secrets.js';
import { NO_FACTS, type KeyView, type LiveFigures } from './live-figures.js';

/** A key as its creator asks for it. */
export interface CreateKeyInput {
  readonly actor: string;
  readonly isOperator: boolean;
  readonly userId: string;
  readonly name: string;
  readonly teamId: string | null;
  readonly expiresDays: number | null;
  readonly allowedModels: readonly string[] | null;
  readonly maxBudgetPicoUsd: PicoUsd | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Runs last in the transaction, with the key as it will be answered. */
  readonly onCreated?: (tx: EntityTransaction, view: KeyView) => Promise<void>;
}

/** The new key; `secret` is shown once and kept nowhere. */
export interface CreateKeyResult {
  readonly secret: string;
  readonly view: KeyView;
}

/** Issues a key, with its budget, in one transaction. */
export class CreateKey {
  constructor(
    private readonly source: ServiceDataSource,
    private readonly keys: PostgresKeyStore,
    private readonly teams: PostgresTeamStore,
    private readonly budgets: BudgetChanges,
    private readonly figures: LiveFigures,
    private readonly journal: ControlJournal,
    private readonly peppers: Peppers,
    private readonly clock: Clock,
    private readonly random: Random,
  ) {}

  /** @throws AppError `auth.access_denied` when the team exists and the owner is not its member */
  async execute(input: CreateKeyInput): Promise<CreateKeyResult> {
    const keyId = uuidV4(this.random) as KeyId;
    const secret = freshSecret(this.peppers, this.random, keyId);
    const teamRecordId = await this.teamRecordOf(input);
    const { name, userId, teamId, expiresDays, allowedModels, metadata } = input;
    const given = { name, userId, teamId, teamRecordId, expiresDays, allowedModels, metadata };
    const command = { keyId, orgId: ORGANISATION_ID, ...given };
    const { key, event } = createKey(command, secret, this.clock.nowMs());
    const view = await this.newKeyView(key, input.maxBudgetPicoUsd);
    await this.source.transaction(async (tx) => {
      await this.keys.insert(tx, key, secret.stored);
      await this.journal.record(tx, input.actor, [{ ...event!, subject: keyId }]);
      if (input.maxBudgetPicoUsd !== null) {
        await this.budgets.setKeyLimit(tx, input.actor, keyId, input.maxBudgetPicoUsd);
      }
      await input.onCreated?.(tx, view);
    });
    await this.budgets.inForce();
    return { secret: secret.presented, view };
  }

  private async newKeyView(
    key: KeyView['key'],
    maxBudgetPicoUsd: PicoUsd | null,
  ): Promise<KeyView> {
    const [view] = await this.figures.viewsOf([key], NO_FACTS);
    return { ...view!, maxBudgetPicoUsd };
  }

  private async teamRecordOf(input: CreateKeyInput): Promise<string | null> {
    if (input.teamId === null) return null;
    const team = await this.teams.find(ORGANISATION_ID, input.teamId);
    if (team === null) return null;
    const now = toRfc3339(this.clock.nowMs());
    if (!input.isOperator && !(await this.keys.isMember(team.recordId, input.userId, now))) {
      throw accessDenied();
    }
    return team.recordId;
  }
}
