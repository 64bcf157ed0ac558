import type { Clock } from './clock.js';
import type { Random } from './random.js';

/** A virtual key: UUID version 4, lower case with dashes. */
export type KeyId = string & { readonly __brand: 'KeyId' };
/** One client request: UUID version 7, lower case with dashes; on the wire `req-` + 32 hex digits. */
export type RequestId = string & { readonly __brand: 'RequestId' };

const UUID_PATTERN = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

/** The 32 hex digits of 16 bytes with the dashes of a UUID. */
export function formatUuid(bytes: Uint8Array): string {
  return uuidOfHex(hexOf(bytes));
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, 16).toString('hex');
}

/** The first 32 of lower-case hex digits with the dashes of a UUID. */
export function uuidOfHex(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

/**
 * Reads a UUID in either spelling (dashed or 32 hex digits), any letter case.
 * @returns the dashed lower-case form, or null for anything else
 */
export function parseUuid(text: string): string | null {
  return UUID_PATTERN.test(text) ? uuidOfHex(text.replaceAll('-', '').toLowerCase()) : null;
}

/** The 16 bytes of a UUID in dashed form. */
export function uuidBytes(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

/** The 32 hex digits of a UUID in dashed form. */
export function uuidHex(uuid: string): string {
  return (
    uuid.slice(0, 8) + uuid.slice(9, 13) + uuid.slice(14, 18) + uuid.slice(19, 23) + uuid.slice(24)
  );
}

/** A random UUID, version 4. @source RFC 9562 section 5.4 */
export function uuidV4(random: Random): string {
  const bytes = random.bytes(16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return formatUuid(bytes);
}

/**
 * Mints time-ordered UUIDs, strictly increasing within one instance, also inside a millisecond and
 * when the wall clock steps back.
 * @source RFC 9562 sections 5.7 and 6.2 (method 1: 12-bit counter in rand_a)
 */
export class UuidV7Generator {
  private lastMs = 0;
  private counter = 0;

  constructor(
    private readonly clock: Clock,
    private readonly random: Random,
  ) {}

  next(): string {
    return uuidOfHex(this.nextHex());
  }

  /** The same as 32 hex digits without dashes. */
  nextHex(): string {
    const bytes = this.random.bytes(16);
    const nowMs = this.clock.nowMs();
    if (nowMs > this.lastMs) {
      this.lastMs = nowMs;
      this.counter = bytes[15]!;
    } else if (++this.counter > 0xfff) {
      this.lastMs += 1;
      this.counter = 0;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
    view.setUint32(0, Math.floor(this.lastMs / 0x10000));
    view.setUint16(4, this.lastMs % 0x10000);
    view.setUint16(6, 0x7000 | this.counter);
    bytes[8] = (bytes[8]! & 0x3f) | 0x80;
    return hexOf(bytes);
  }
}

/** The form in which callers and providers see a request id: `req-` + 32 hex digits. */
export function requestIdOnWire(requestId: RequestId): string {
  return `req-${uuidHex(requestId)}`;
}
