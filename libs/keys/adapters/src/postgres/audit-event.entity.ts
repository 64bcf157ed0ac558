import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

import { timestampMs } from '#libs/platform/postgres';

/** One administrative change. Rows are only ever added: the role may insert and read, nothing else. */
@Entity({ schema: 'auth', name: 'audit_event' })
export class AuditEventEntity {
  @PrimaryGeneratedColumn('identity', { type: 'bigint' })
  seq!: string;

  @Column({ name: 'occurred_at', type: 'timestamptz', transformer: timestampMs })
  occurredAtMs!: number;

  @Column({ name: 'org_id', type: 'text' })
  orgId!: string;

  /** `operator`, `operator for <user>`, `user <user>` or `system`. */
  @Column({ type: 'text' })
  actor!: string;

  /** The event type of the change. */
  @Column({ type: 'text' })
  action!: string;

  /** `<kind> <id>` of what was changed. */
  @Column({ type: 'text' })
  subject!: string;

  /** Public state after the change; never a secret or a digest. */
  @Column({ type: 'jsonb' })
  details!: Readonly<Record<string, unknown>>;
}
