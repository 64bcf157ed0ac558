import { createHmac } from 'node:crypto';

import { describe, expect, test } from '@jest/globals';

import { keyDigests, parsePeppers, readPeppers } from './peppers.js';

const NEW = Buffer.alloc(32, 2);
const OLD = Buffer.alloc(48, 1);
const TEXT = `v2:${NEW.toString('base64')}, v1:${OLD.toString('base64')}`;

describe('peppers', () => {
  test('digests are HMAC-SHA-256 of the whole string, newest pepper first', () => {
    const digests = keyDigests(parsePeppers(TEXT), 'sk-mp-x');
    const expected = [NEW, OLD].map((secret) =>
      createHmac('sha256', secret).update('sk-mp-x').digest('hex'),
    );
    expect(digests).toEqual(expected);
  });

  test('strings that share a long prefix have unlike digests', () => {
    const peppers = parsePeppers(TEXT);
    const prefix = 'sk-mp-0123456789abcdef0123456789abcdef-';
    expect(keyDigests(peppers, `${prefix}a`)).not.toEqual(keyDigests(peppers, `${prefix}b`));
  });

  test('every fault is listed, and no fault repeats a secret', () => {
    const secret = Buffer.alloc(8, 7).toString('base64');
    const reading = readPeppers(`v1:${secret},v1:${NEW.toString('base64')},x,v0:abc`);
    expect(reading.peppers).toBeNull();
    expect(reading.faults).toEqual([
      'version v1 is shorter than 32 bytes',
      'version v1 is named twice',
      'entry 3 has not the form v<number>:<base64>',
      'entry 4 has not the form v<number>:<base64>',
    ]);
    expect(reading.faults.join()).not.toContain(secret);
  });

  test('an empty text and more than four versions are refused', () => {
    expect(() => parsePeppers('')).toThrow('KEY_PEPPERS');
    const five = [5, 4, 3, 2, 1].map((n) => `v${n}:${NEW.toString('base64')}`).join();
    expect(readPeppers(five).faults).toEqual(['at most 4 versions may be live']);
  });
});
