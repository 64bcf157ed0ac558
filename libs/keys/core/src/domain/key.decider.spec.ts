import { describe, expect, test } from '@jest/globals';

import type { KeyId } from '#libs/kernel';

import {
  createKey,
  deleteKey,
  disableKey,
  rotateKey,
  updateKey,
  type CreateKeyCommand,
} from './key.decider.js';
import { statusOfKey } from './key-status.js';
import { isModelAllowed, normalAllowList } from './model-allow-list.js';

const KEY_ID = '6f1d0a52-7c0f-4f0e-9a53-111111111111' as KeyId;
const COMMAND: CreateKeyCommand = {
  keyId: KEY_ID,
  orgId: 'default',
  name: 'n',
  userId: 'bob',
  teamId: 'crew',
  teamRecordId: '6f1d0a52-7c0f-4f0e-9a53-222222222222',
  expiresDays: 1,
  allowedModels: [],
  metadata: {},
};
const SECRET = { presented: 'abc', digests: ['d1'] };
const { key } = createKey(COMMAND, SECRET, 1000);

describe('createKey', () => {
  test('a new key is enabled, at revision 1, and its event carries the digests, never the secret', () => {
    const { event } = createKey(COMMAND, SECRET, 1000);
    expect(key).toMatchObject({ enabled: true, rev: 1, allowedModels: ['*'] });
    expect(key.expiresAtMs).toBe(86_401_000);
    expect(event).toMatchObject({ type: 'key.created.v1', data: { rev: 1, digests: ['d1'] } });
    expect(JSON.stringify(event)).not.toContain('abc');
  });

  test('the team name of a key ends in 8 hex digits of its SHA-256; a label gives none', () => {
    // SHA-256("abc") = ba7816bf..., FIPS 180-2 appendix B.1
    expect(key.secretName).toBe('apikey-bob-crew-ba7816bf');
    const label = { ...COMMAND, teamRecordId: null };
    expect(createKey(label, SECRET, 0).key.secretName).toBeNull();
  });
});

describe('changes', () => {
  test('only sent members change, and each change raises the revision', () => {
    const changed = updateKey(key, { name: 'm' }, 2000);
    expect(changed).toMatchObject({
      ok: true,
      value: { key: { ...key, name: 'm', rev: 2, updatedAtMs: 2000 } },
    });
    expect(changed.ok && changed.value.event?.type).toBe('key.updated.v1');
    expect(changed.ok && changed.value.event?.data).not.toHaveProperty('digests');
  });

  test('a change without difference makes no event', () => {
    expect(updateKey(key, { name: 'n', allowedModels: null, metadata: null }, 5)).toEqual({
      ok: true,
      value: { key, event: null },
    });
  });

  test('disabling repeats without effect and is undone by enabling', () => {
    const { key: disabled, event } = disableKey(key, 1);
    expect(event?.type).toBe('key.disabled.v1');
    expect(disableKey(disabled, 2).event).toBeNull();
    const enabled = updateKey(disabled, { enabled: true }, 3);
    expect(enabled.ok && enabled.value.event?.type).toBe('key.enabled.v1');
  });

  test('rotation keeps everything but the secret and its name', () => {
    const rotated = rotateKey(key, { presented: 'x', digests: ['d2', 'd1'] }, 9);
    expect(rotated.ok && rotated.value.event).toMatchObject({
      type: 'key.rotated.v1',
      data: { digests: ['d2', 'd1'], rev: 2 },
    });
    expect(rotated.ok && rotated.value.key.secretName).not.toBe(key.secretName);
  });

  test('a deleted key stays deleted: it takes no change and no new secret', () => {
    const { key: deleted, event } = deleteKey(key, 7);
    expect(event).toMatchObject({ type: 'key.deleted.v1', data: { deleted: true } });
    expect(deleteKey(deleted, 8).event).toBeNull();
    expect(disableKey(deleted, 8).event).toBeNull();
    expect(updateKey(deleted, { enabled: true }, 8)).toEqual({ ok: false, error: 'deleted' });
    expect(rotateKey(deleted, SECRET, 8)).toEqual({ ok: false, error: 'deleted' });
  });
});

describe('status', () => {
  const facts = { enabled: true, deleted: false, expiresAtMs: 100, blocked: true };

  test('the first of inactive, expired, revoked, active holds', () => {
    expect(statusOfKey({ ...facts, deleted: true }, 200)).toBe('inactive');
    expect(statusOfKey({ ...facts, enabled: false }, 200)).toBe('inactive');
    expect(statusOfKey(facts, 101)).toBe('expired');
    expect(statusOfKey(facts, 100)).toBe('revoked');
    expect(statusOfKey({ ...facts, blocked: false, expiresAtMs: null }, 200)).toBe('active');
  });
});

describe('allow-list', () => {
  test('entries admit by equality or by prefix; the empty list admits all', () => {
    expect(isModelAllowed(['gpt-4'], ['gpt-4'])).toBe(true);
    expect(isModelAllowed(['gpt-4'], ['gpt-4o'])).toBe(false);
    expect(isModelAllowed(['gpt-*'], ['gpt-4o'])).toBe(true);
    expect(isModelAllowed(['alias'], ['id', 'alias'])).toBe(true);
    expect(isModelAllowed(['g*t-4'], ['gpt-4'])).toBe(false);
    expect(isModelAllowed(normalAllowList([]), ['anything'])).toBe(true);
  });

  test('hostile names cost linear time', () => {
    const list = Array.from({ length: 1000 }, () => `${'a'.repeat(254)}*`);
    const startMs = performance.now();
    expect(isModelAllowed(list, [`${'a'.repeat(100_000)}b`])).toBe(true);
    expect(isModelAllowed(list, [`${'a'.repeat(253)}b`])).toBe(false);
    expect(performance.now() - startMs).toBeLessThan(100);
  });
});

test('stopping and starting a key by a change are events of their own', () => {
  const stopped = updateKey(key, { enabled: false }, 2);
  if (!stopped.ok) throw new Error('refused');
  expect(stopped.value.event).toMatchObject({ type: 'key.disabled.v1', data: { enabled: false } });
  const started = updateKey(stopped.value.key, { enabled: true, name: 'm' }, 3);
  expect(started).toMatchObject({
    ok: true,
    value: { event: { type: 'key.enabled.v1', data: { enabled: true, name: 'm', rev: 3 } } },
  });
});

test('a key for ever says so in its event', () => {
  const { event } = createKey({ ...COMMAND, expiresDays: null }, SECRET, 1000);
  expect(event?.data).toMatchObject({ expires_at: null });
});
