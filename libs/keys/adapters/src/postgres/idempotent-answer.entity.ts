import { Column, Entity, PrimaryColumn } from 'typeorm';

import { timestampMs } from '#libs/platform/postgres';

/** The answer of a request that carried an `Idempotency-Key`, without its secret. */
@Entity({ schema: 'auth', name: 'idempotent_answer' })
export class IdempotentAnswerEntity {
  @PrimaryColumn({ type: 'text' })
  caller!: string;

  /** Method and path of the request. */
  @PrimaryColumn({ type: 'text' })
  route!: string;

  @PrimaryColumn({ type: 'text' })
  key!: string;

  /** SHA-256 of the request's body, 64 hex digits. */
  @Column({ name: 'body_digest', type: 'text' })
  bodyDigest!: string;

  @Column({ type: 'integer' })
  status!: number;

  /** JSON text, kept digit by digit. */
  @Column({ type: 'text' })
  answer!: string;

  @Column({ name: 'created_at', type: 'timestamptz', transformer: timestampMs })
  createdAtMs!: number;
}
