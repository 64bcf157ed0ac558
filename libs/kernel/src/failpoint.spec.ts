import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, describe, expect, test } from '@jest/globals';

import { armFailpoints, failpoint } from './failpoint.js';

afterEach(() => armFailpoints(''));

describe('failpoint', () => {
  test('does nothing unless armed', () => {
    expect(() => failpoint('sink.after_plan')).not.toThrow();
  });

  test('acts on the hit that was named, and on no other', () => {
    armFailpoints('sink.after_plan=throw@2');
    expect(() => failpoint('sink.after_plan')).not.toThrow();
    expect(() => failpoint('sink.after_insert')).not.toThrow();
    expect(() => failpoint('sink.after_plan')).toThrow('failpoint sink.after_plan');
    expect(() => failpoint('sink.after_plan')).not.toThrow();
  });

  test('writes down what it does before it does it', () => {
    const folder = mkdtempSync(join(tmpdir(), 'failpoint-'));
    const record = join(folder, 'hits');
    armFailpoints('seal.before=delay:1,seal.after=throw', record);
    failpoint('seal.before');
    expect(() => failpoint('seal.after')).toThrow('failpoint seal.after');
    expect(readFileSync(record, 'utf8')).toBe('seal.before delay\nseal.after throw\n');
    rmSync(folder, { recursive: true });
  });

  test.each(['sink.nowhere=throw', 'seal.after=explode', 'seal.after', 'seal.after=kill9@x'])(
    'refuses %s',
    (spec) => {
      expect(() => armFailpoints(spec)).toThrow('FAILPOINTS');
    },
  );
});
