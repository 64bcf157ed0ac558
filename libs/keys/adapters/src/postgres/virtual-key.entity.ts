import { Column, Entity, PrimaryColumn } from 'typeorm';

import { timestampMs } from '#libs/platform/postgres';

/** One row per key ever issued; rows are never removed. */
@Entity({ schema: 'auth', name: 'virtual_key' })
export class VirtualKeyEntity {
  @PrimaryColumn({ name: 'key_id', type: 'uuid' })
  keyId!: string;

  @Column({ name: 'org_id', type: 'text' })
  orgId!: string;

  @Column({ type: 'text' })
  name!: string;

  @Column({ name: 'user_id', type: 'text' })
  userId!: string;

  @Column({ name: 'user_email', type: 'text', nullable: true })
  userEmail!: string | null;

  @Column({ name: 'team_id', type: 'text', nullable: true })
  teamId!: string | null;

  @Column({ name: 'team_record_id', type: 'uuid', nullable: true })
  teamRecordId!: string | null;

  @Column({ name: 'secret_name', type: 'text', nullable: true })
  secretName!: string | null;

  @Column({ type: 'boolean' })
  enabled!: boolean;

  @Column({ name: 'deleted_at', type: 'timestamptz', nullable: true, transformer: timestampMs })
  deletedAtMs!: number | null;

  @Column({ name: 'expires_at', type: 'timestamptz', nullable: true, transformer: timestampMs })
  expiresAtMs!: number | null;

  @Column({ name: 'allowed_models', type: 'jsonb' })
  allowedModels!: readonly string[];

  @Column({ type: 'jsonb' })
  metadata!: Readonly<Record<string, unknown>>;

  @Column({ type: 'integer' })
  rev!: number;

  @Column({ name: 'created_at', type: 'timestamptz', transformer: timestampMs })
  createdAtMs!: number;

  @Column({ name: 'updated_at', type: 'timestamptz', transformer: timestampMs })
  updatedAtMs!: number;
}
