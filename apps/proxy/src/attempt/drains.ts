/** Most answers read to their end for clients that have left. */
const MAX_DRAINS = 64;

/** Counts the answers in flight and those of them whose client has left. */
export class InFlight {
  private active = 0;
  private drains = 0;
  private waiting: (() => void)[] = [];

  /** An attempt was dispatched. */
  begin(): void {
    this.active++;
  }

  /** Its record is durable. */
  end(): void {
    this.active--;
    if (this.active > 0) return;
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  /** @returns whether another answer may be read on without a client; pairs with `endDrain` */
  beginDrain(): boolean {
    if (this.drains >= MAX_DRAINS) return false;
    this.drains++;
    return true;
  }

  endDrain(): void {
    this.drains--;
  }

  /** Attempts whose record is not yet durable. */
  count(): number {
    return this.active;
  }

  /** Answers read on without a client. */
  draining(): number {
    return this.drains;
  }

  /** Resolves when no attempt is in flight. */
  idle(): Promise<void> {
    if (this.active === 0) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}
