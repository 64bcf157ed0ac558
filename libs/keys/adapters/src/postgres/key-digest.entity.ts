import { Column, Entity, PrimaryColumn } from 'typeorm';

import { timestampMs } from '#libs/platform/postgres';

/** A keyed digest under which a key is found; the unique index refuses a secret used twice. */
@Entity({ schema: 'auth', name: 'key_digest' })
export class KeyDigestEntity {
  /** 64 hex digits. */
  @PrimaryColumn({ type: 'text' })
  digest!: string;

  @Column({ name: 'key_id', type: 'uuid' })
  keyId!: string;

  @Column({ name: 'pepper_version', type: 'text' })
  pepperVersion!: string;

  /** Null = the current secret; else a former one in its grace. */
  @Column({ name: 'valid_until', type: 'timestamptz', nullable: true, transformer: timestampMs })
  validUntilMs!: number | null;

  @Column({ name: 'created_at', type: 'timestamptz', transformer: timestampMs })
  createdAtMs!: number;
}
