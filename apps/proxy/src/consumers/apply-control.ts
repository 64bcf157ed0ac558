import type { LogRecord } from '#libs/event-log/core';
import type {
  BudgetDefinitionV1,
  BudgetStateV1,
  KeyRevocationV1,
  KeyStateV1,
  TeamStateV1,
} from '#libs/events';

import type { BudgetBlocks } from '../admission/budget-blocks.js';
import type { CatalogueSource } from '../admission/catalogue-source.js';
import type { KeyCache } from '../admission/key-cache.js';

/** What control events act on. */
export interface ApplyControlParts {
  readonly keys: KeyCache;
  readonly blocks: BudgetBlocks;
  readonly catalogue: Pick<CatalogueSource, 'refresh'>;
}

/**
 * Brings what this process remembers up to date with one control event. Changed keys are dropped and
 * fetched by their next request; exhausted budgets act at once. Repeats and old news change nothing.
 */
export class ApplyControl {
  constructor(private readonly parts: ApplyControlParts) {}

  apply(record: LogRecord): void {
    try {
      this.applyEvent(record.headers['ce_type'] ?? '', Buffer.from(record.value).toString());
    } catch {
      // Unreadable here means unknown effect: nothing remembered can be trusted any more.
      this.dropEverything();
    }
  }

  /** Records may have gone unseen. */
  dropEverything(): void {
    this.parts.keys.dropWhere(() => true);
    this.parts.catalogue.refresh();
  }

  private applyEvent(type: string, json: string): void {
    const { keys, blocks, catalogue } = this.parts;
    switch (type) {
      case 'key.revoked.v1':
      case 'key.reinstated.v1': {
        const event = JSON.parse(json) as KeyRevocationV1;
        if (blocks.hearKey(event, type === 'key.revoked.v1')) keys.reblock('key', event.key_id);
        return;
      }
      case 'budget.exceeded.v1':
      case 'budget.reinstated.v1': {
        const event = JSON.parse(json) as BudgetStateV1;
        if (blocks.hearBudget(event)) keys.reblock(event.scope, event.subject_id);
        return;
      }
      case 'budget.defined.v1':
      case 'budget.deleted.v1':
        return this.budgetEdited(JSON.parse(json) as BudgetDefinitionV1);
      case 'config.changed.v1':
        return catalogue.refresh();
      case 'budget.threshold.v1':
        return;
      default:
        return this.applyOther(type, json);
    }
  }

  private applyOther(type: string, json: string): void {
    const { keys } = this.parts;
    if (/^key\.\w+\.v1$/.test(type)) keys.dropKey((JSON.parse(json) as KeyStateV1).key_id);
    else if (/^team\.\w+\.v1$/.test(type)) {
      const { team_id } = JSON.parse(json) as TeamStateV1;
      keys.dropWhere(({ record }) => record.teamId === team_id);
    } else if (/^(key|team|user|policy|budget|config)\./.test(type)) this.dropEverything();
  }

  private budgetEdited(definition: BudgetDefinitionV1): void {
    const { budget_id, scope, scope_id, deleted, enabled } = definition;
    if (deleted || !enabled) this.parts.blocks.lift(budget_id);
    if (scope === 'key') return this.parts.keys.dropKey(scope_id);
    this.parts.keys.dropWhere(({ subjects }) =>
      subjects.some((subject) => subject.scope === scope && subject.subjectId === scope_id),
    );
  }
}
