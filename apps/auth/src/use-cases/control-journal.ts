import type { BudgetRowChange } from '#libs/budgets/core';
import { eventHeaders, TOPICS, type Topic } from '#libs/events';
import { toRfc3339, UuidV7Generator, type Clock, type Random } from '#libs/kernel';
import { AuditTrail } from '#libs/keys/adapters';
import type { EntityTransaction, OutboxWriter } from '#libs/platform/postgres';

import { ORGANISATION_ID } from '../auth-options.js';

/** One change of the control plane: what is published and recorded of it. */
export interface ControlChange {
  /** `<subject>.<verb>.v<major>` */
  readonly type: string;
  /** Id of what changed. */
  readonly subject: string;
  readonly data: object;
}

/** Writes the event and the audit row of a change in the transaction of the change itself. */
export class ControlJournal {
  private readonly ids: UuidV7Generator;
  private readonly audit = new AuditTrail();

  constructor(
    private readonly outbox: OutboxWriter,
    private readonly clock: Clock,
    random: Random,
  ) {
    this.ids = new UuidV7Generator(clock, random);
  }

  /**
   * Records changes in the given order.
   * @param actor who caused them, as the audit trail shows it
   */
  async record(
    tx: EntityTransaction,
    actor: string,
    changes: readonly ControlChange[],
    topic: Topic = TOPICS.control,
  ): Promise<void> {
    const nowMs = this.clock.nowMs();
    await this.audit.write(
      tx,
      changes.map((change) => ({
        occurredAtMs: nowMs,
        orgId: ORGANISATION_ID,
        actor,
        action: change.type,
        subject: `${change.type.split('.', 1)[0]} ${change.subject}`,
        details: withoutDigests(change.data),
      })),
    );
    await this.outbox.write(
      tx,
      changes.map((change) => ({
        topic,
        partition: 0,
        key: change.subject,
        headers: { ...this.headersOf(change, nowMs) },
        value: Buffer.from(JSON.stringify(change.data)),
      })),
    );
  }

  private headersOf(change: ControlChange, nowMs: number) {
    return eventHeaders({
      id: this.ids.next(),
      type: change.type,
      service: 'auth',
      time: toRfc3339(nowMs),
      subject: change.subject,
      partitionKey: change.subject,
    });
  }
}

function withoutDigests(data: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(data).filter(([name]) => name !== 'digests'));
}

/** A change of a budget row as the journal takes it. */
export function budgetControlChange(change: BudgetRowChange): ControlChange {
  return { ...change.event, subject: change.row.budgetId };
}
