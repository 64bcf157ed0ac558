import { Column, Entity, PrimaryColumn } from 'typeorm';

import { timestampMs } from '#libs/platform/postgres';

/** One price, stored once and never changed. */
@Entity({ schema: 'auth', name: 'price_entry' })
export class PriceEntryEntity {
  /** 64 hex digits. */
  @PrimaryColumn({ name: 'price_id', type: 'text' })
  priceId!: string;

  /** JSON; rates are integer strings of pico-dollars. */
  @Column({ type: 'text' })
  body!: string;

  @Column({ name: 'recorded_at', type: 'timestamptz', transformer: timestampMs })
  recordedAtMs!: number;
}
