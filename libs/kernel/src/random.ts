import { randomFillSync } from 'node:crypto';

/** Where randomness comes from; an argument wherever ids or secrets are minted. */
export abstract class Random {
  /** @returns fresh bytes of a cryptographic generator */
  abstract bytes(count: number): Uint8Array;
}

/** Bytes drawn per refill of the pool; one refill serves 512 ids. */
const POOL_BYTES = 8192;

/** The generator of the operating system, read in blocks because one call a request is dear. */
export class SystemRandom extends Random {
  private readonly pool = new Uint8Array(POOL_BYTES);
  private used = POOL_BYTES;

  bytes(count: number): Uint8Array {
    if (count > POOL_BYTES) return randomFillSync(new Uint8Array(count));
    if (this.used + count > POOL_BYTES) {
      randomFillSync(this.pool);
      this.used = 0;
    }
    const taken = this.pool.slice(this.used, this.used + count);
    this.pool.fill(0, this.used, this.used + count);
    this.used += count;
    return taken;
  }
}
