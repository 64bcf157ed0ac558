import { describe, expect, test } from '@jest/globals';

import { Clock } from './clock.js';
import {
  parseUuid,
  requestIdOnWire,
  uuidBytes,
  uuidHex,
  uuidV4,
  UuidV7Generator,
  type RequestId,
} from './ids.js';
import { SystemRandom } from './random.js';

class SteppingClock extends Clock {
  timeMs = 1_700_000_000_000;
  nowMs(): number {
    return this.timeMs;
  }
  monotonicMs(): number {
    return this.timeMs;
  }
}

describe('identifiers', () => {
  test('version 7 ids grow strictly, within a millisecond and when the clock steps back', () => {
    const clock = new SteppingClock();
    const ids = new UuidV7Generator(clock, new SystemRandom());
    const made: string[] = [];
    for (let turn = 0; turn < 20_000; turn += 1) {
      if (turn === 5_000) clock.timeMs += 3;
      if (turn === 10_000) clock.timeMs -= 60_000;
      made.push(ids.next());
    }
    for (let at = 1; at < made.length; at += 1) expect(made[at]! > made[at - 1]!).toBe(true);
    expect(made[0]).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    expect(Number.parseInt(uuidHex(made[0]!).slice(0, 12), 16)).toBe(1_700_000_000_000);
  });

  test('version 4 ids have their version and variant and do not repeat', () => {
    const random = new SystemRandom();
    const made = new Set(Array.from({ length: 5_000 }, () => uuidV4(random)));
    expect(made.size).toBe(5_000);
    for (const id of made) {
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    }
  });

  test('an id is read in either spelling and any letter case, and nothing else is', () => {
    const id = '0191f3a0-1234-7abc-8def-0123456789ab';
    for (const text of [id, id.toUpperCase(), uuidHex(id), uuidHex(id).toUpperCase()]) {
      expect(parseUuid(text)).toBe(id);
    }
    for (const text of ['', 'x', `${id}0`, id.slice(1), `{${id}}`, 'g'.repeat(32)]) {
      expect(parseUuid(text)).toBeNull();
    }
    expect(uuidBytes(id)).toHaveLength(16);
  });

  test('a request id goes out as req- and 32 hex digits', () => {
    const id = '0191f3a0-1234-7abc-8def-0123456789ab' as RequestId;
    expect(requestIdOnWire(id)).toBe('req-0191f3a012347abc8def0123456789ab');
  });

  test('random bytes have the length asked for, also beyond one pool', () => {
    const random = new SystemRandom();
    for (const count of [1, 16, 8_191, 8_192, 8_193])
      expect(random.bytes(count)).toHaveLength(count);
  });
});
