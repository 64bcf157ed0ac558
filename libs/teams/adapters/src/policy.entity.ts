import { Column, Entity, PrimaryColumn } from 'typeorm';

import { safeInteger } from '#libs/platform/postgres';

/** One row per policy name of an organisation. */
@Entity({ schema: 'auth', name: 'policy' })
export class PolicyEntity {
  @PrimaryColumn({ name: 'org_id', type: 'text' })
  orgId!: string;

  @PrimaryColumn({ type: 'text' })
  name!: string;

  @Column({ type: 'boolean' })
  unlimited!: boolean;

  @Column({ name: 'token_limit', type: 'bigint', nullable: true, transformer: safeInteger })
  tokenLimit!: number | null;

  @Column({ name: 'time_window', type: 'text', nullable: true })
  timeWindow!: string | null;

  @Column({ type: 'integer' })
  rev!: number;
}
