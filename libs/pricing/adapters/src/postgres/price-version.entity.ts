import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

import { timestampMs } from '#libs/platform/postgres';

/** One publication of a price book; the last one is in force. */
@Entity({ schema: 'auth', name: 'price_version' })
export class PriceVersionEntity {
  @PrimaryGeneratedColumn('identity', { type: 'bigint' })
  seq!: string;

  /** 64 hex digits. */
  @Column({ type: 'text' })
  version!: string;

  /** Every entry of the version. */
  @Column({ name: 'price_ids', type: 'jsonb' })
  priceIds!: readonly string[];

  @Column({ type: 'text' })
  source!: string;

  @Column({ name: 'recorded_at', type: 'timestamptz', transformer: timestampMs })
  recordedAtMs!: number;
}
