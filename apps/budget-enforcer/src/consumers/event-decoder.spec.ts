/** Guarantee: what the published schemas of `usage.rated` and of budgets allow can be applied. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import type { LogRecord } from '#libs/event-log/core';
import { TOPICS } from '#libs/events';
import { projectRoot } from '#libs/platform/config';
import { readSchemas, SchemaSet } from '#libs/platform/schema';

import { decodeDefinition, decodeRated } from './event-decoder.js';

const folder = join(projectRoot(), 'libs/events');
const schemas = new SchemaSet([
  ...readSchemas(join(folder, 'schemas')).values(),
  ...readSchemas(join(folder, 'schemas/parts')).values(),
]);

/** What a reader says of an event that it is too old for. */
const NEWER = expect.objectContaining({ code: 'budget.newer_event' });

type Data = Record<string, unknown>;

function fixture(type: string, size: string): Data {
  return JSON.parse(readFileSync(join(folder, `fixtures/${type}.${size}.json`), 'utf8')) as Data;
}

function recordOf(type: string, data: Data): LogRecord {
  return {
    topic: type === 'usage.rated.v1' ? TOPICS.usageRated : TOPICS.control,
    partition: 0,
    offset: 0n,
    key: 'k',
    headers: { ce_type: type },
    value: Buffer.from(JSON.stringify(data)),
    appendedAtMs: 0,
  };
}

/** The data, which must conform, as a record. */
function conforming(type: string, data: Data): LogRecord {
  expect(schemas.faultsOf(`urn:tollgate:event:${type}`, data)).toEqual([]);
  return recordOf(type, data);
}

describe('usage.rated', () => {
  const full = fixture('usage.rated.v1', 'full');
  const [subject] = full['subjects'] as Data[];
  const [hold] = full['holds'] as Data[];

  test.each(['minimal', 'full'])('the %s example is read as it is', (size) => {
    const data = fixture('usage.rated.v1', size);
    expect(decodeRated(conforming('usage.rated.v1', data)).rated).toEqual(data);
  });

  test.each(['key', 'team', 'user', 'organisation'])('a subject of scope %s is read', (scope) => {
    for (const subjectId of ['s', 's'.repeat(255), '😀'.repeat(255)]) {
      const subjects = [{ ...subject, scope, subject_id: subjectId }];
      const { rated } = decodeRated(conforming('usage.rated.v1', { ...full, subjects }));
      expect(rated.subjects).toEqual(subjects);
    }
  });

  test.each(['measured', 'estimated_partial', 'estimated_hold', 'zero_not_sent'])(
    'a hold that ended %s is read',
    (provenance) => {
      const holds = [{ ...hold, provenance, charge_pusd: '9'.repeat(24) }];
      const { rated } = decodeRated(conforming('usage.rated.v1', { ...full, holds }));
      expect(rated.holds).toEqual(holds);
    },
  );

  test('a subject that no column can hold is refused, as the schema refuses it', () => {
    for (const subjectId of ['', 'a\0b', '\ud83d', '😀'.repeat(256)]) {
      const data = { ...full, subjects: [{ ...subject, subject_id: subjectId }] };
      expect(schemas.faultsOf('urn:tollgate:event:usage.rated.v1', data)).not.toEqual([]);
      expect(() => decodeRated(recordOf('usage.rated.v1', data))).toThrow('subjects.subject_id');
    }
  });
});

describe('budget.defined and budget.deleted', () => {
  test.each(['budget.defined.v1', 'budget.deleted.v1'])('%s: both examples are read', (type) => {
    for (const size of ['minimal', 'full']) {
      const data = fixture(type, size);
      expect(decodeDefinition(conforming(type, data))).toEqual({
        budgetId: data['budget_id'],
        scope: data['scope'],
        subjectId: data['scope_id'],
        period: 'total',
        limitPicoUsd: BigInt(String(data['limit_pusd'])),
        thresholds: data['thresholds'],
        enabled: data['enabled'],
        deleted: type === 'budget.deleted.v1',
        rev: data['rev'],
      });
    }
  });

  test('every bound of the schema is within the bounds of an account', () => {
    const data = {
      ...fixture('budget.defined.v1', 'full'),
      scope_id: '😀'.repeat(255),
      limit_pusd: '9'.repeat(30),
      thresholds: Array.from({ length: 10 }, (_, at) => (at + 1) / 10),
      rev: 2_147_483_647,
    };
    const definition = decodeDefinition(conforming('budget.defined.v1', data));
    expect(definition?.limitPicoUsd).toBe(10n ** 30n - 1n);
  });

  test('an event of another kind concerns no account, and a newer one stops the reader', () => {
    expect(decodeDefinition(recordOf('key.created.v1', {}))).toBeNull();
    expect(() => decodeDefinition(recordOf('budget.defined.v2', {}))).toThrow(NEWER);
    expect(() => decodeRated(recordOf('usage.rated.v2', {}))).toThrow(NEWER);
  });
});
