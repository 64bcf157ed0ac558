import { eventSubject, type BudgetEvent } from '#libs/budgets/core';
import { eventHeaders, TOPICS } from '#libs/events';
import { toRfc3339, uuidV4, type Clock, type Random } from '#libs/kernel';
import type { OutboxRecord, OutboxWriter, Transaction } from '#libs/platform/postgres';

/** Publishes what the guard announces on topic `control`, in the transaction that decided it. */
export class BudgetOutbox {
  constructor(
    private readonly writer: OutboxWriter,
    private readonly clock: Clock,
    private readonly random: Random,
  ) {}

  /** Adds the events in the given order; they are sent exactly when `tx` commits. */
  async publish(tx: Transaction, events: readonly BudgetEvent[]): Promise<void> {
    await this.writer.write(
      tx,
      events.map((event) => this.record(event)),
    );
  }

  private record(event: BudgetEvent): OutboxRecord {
    const subject = eventSubject(event);
    const headers = eventHeaders({
      id: uuidV4(this.random),
      type: event.type,
      service: 'budget-enforcer',
      time: toRfc3339(this.clock.nowMs()),
      subject,
      partitionKey: subject,
    });
    return {
      topic: TOPICS.control,
      partition: 0,
      key: subject,
      headers: { ...headers },
      value: Buffer.from(JSON.stringify(event.data)),
    };
  }
}
