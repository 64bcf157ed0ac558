import type { Clock } from '#libs/kernel';

/** Length of the window, milliseconds. */
const WINDOW_MS = 60_000;
/** The window is counted in this many parts, so a call leaves at most one part late. */
const PARTS = 60;
/** Addresses remembered; beyond it the one that called first is forgotten. */
const MAX_ADDRESSES = 10_000;

/** Calls of one address, by part of the window. */
interface AddressCalls {
  readonly counts: Map<number, number>;
  total: number;
}

/** Counts calls per address in a sliding minute, in bounded memory of this process. */
export class AddressLimiter {
  private readonly byAddress = new Map<string, AddressCalls>();

  constructor(
    private readonly clock: Clock,
    private readonly callsPerMinute: number,
  ) {}

  /** Counts a call. @returns false, uncounted, when the address has used up its minute */
  admit(address: string): boolean {
    const part = Math.floor(this.clock.monotonicMs() / (WINDOW_MS / PARTS));
    const calls = this.callsOf(address);
    for (const [at, count] of calls.counts) {
      if (at > part - PARTS) break;
      calls.counts.delete(at);
      calls.total -= count;
    }
    if (calls.total >= this.callsPerMinute) return false;
    calls.counts.set(part, (calls.counts.get(part) ?? 0) + 1);
    calls.total += 1;
    return true;
  }

  private callsOf(address: string): AddressCalls {
    const known = this.byAddress.get(address);
    if (known !== undefined) return known;
    if (this.byAddress.size >= MAX_ADDRESSES) {
      const [oldest] = this.byAddress.keys();
      this.byAddress.delete(oldest!);
    }
    const fresh: AddressCalls = { counts: new Map(), total: 0 };
    this.byAddress.set(address, fresh);
    return fresh;
  }
}
