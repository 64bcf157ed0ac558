import { Column, Entity, PrimaryColumn } from 'typeorm';

import { timestampMs } from '#libs/platform/postgres';

/** One row per team ever created; a team created again under a deleted id is another row. */
@Entity({ schema: 'auth', name: 'team' })
export class TeamEntity {
  @PrimaryColumn({ name: 'record_id', type: 'uuid' })
  recordId!: string;

  @Column({ name: 'org_id', type: 'text' })
  orgId!: string;

  @Column({ name: 'team_id', type: 'text' })
  teamId!: string;

  @Column({ name: 'team_name', type: 'text' })
  teamName!: string;

  @Column({ type: 'text' })
  description!: string;

  @Column({ type: 'text' })
  policy!: string;

  @Column({ type: 'integer' })
  rev!: number;

  @Column({ name: 'created_at', type: 'timestamptz', transformer: timestampMs })
  createdAtMs!: number;

  @Column({ name: 'deleted_at', type: 'timestamptz', nullable: true, transformer: timestampMs })
  deletedAtMs!: number | null;
}
