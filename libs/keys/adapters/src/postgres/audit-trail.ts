import type { EntityTransaction } from '#libs/platform/postgres';

import { AuditEventEntity } from './audit-event.entity.js';

/** One administrative change as it is recorded. */
export type AuditRecord = Omit<AuditEventEntity, 'seq'>;

/** The append-only record of administrative changes. */
export class AuditTrail {
  /** Adds records in the transaction of the change itself. */
  async write(tx: EntityTransaction, records: readonly AuditRecord[]): Promise<void> {
    if (records.length === 0) return;
    await tx.manager.insert(AuditEventEntity, records.map((record) => ({ ...record })) as object[]);
  }
}
