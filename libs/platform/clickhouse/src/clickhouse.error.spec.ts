import { ClickHouseError } from '@clickhouse/client';
import { expect, test } from '@jest/globals';

import { engineError } from './clickhouse.error.js';

const ROW_DATA = 'sk-mp-secret';

function fromEngine(code: string, type: string): ClickHouseError {
  return new ClickHouseError({ code, type, message: `Cannot parse ${ROW_DATA}` });
}

test('the text of the engine is in no enumerable member and in no message', () => {
  const error = engineError(
    'usage.insert',
    fromEngine('27', 'CANNOT_PARSE_INPUT_ASSERTION_FAILED'),
  );
  expect(JSON.stringify(error)).not.toContain(ROW_DATA);
  expect(JSON.stringify(Object.entries(error))).not.toContain(ROW_DATA);
  expect(error.message).toBe(
    'usage store: usage.insert failed: code 27 CANNOT_PARSE_INPUT_ASSERTION_FAILED',
  );
  expect(error.publicMessage).toBe('internal error');
  expect((error.cause as Error).message).toContain(ROW_DATA);
});

test('a fault of the statement is internal, an engine out of breath is unavailable', () => {
  expect(engineError('x', fromEngine('62', 'SYNTAX_ERROR'))).toMatchObject({
    kind: 'internal',
    retryable: false,
  });
  for (const code of ['159', '202', '241', '252']) {
    expect(engineError('x', fromEngine(code, 'SOME'))).toMatchObject({
      kind: 'unavailable',
      retryable: true,
    });
  }
});

test('no answer at all is unavailable', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  expect(engineError('x', refused)).toMatchObject({ kind: 'unavailable', retryable: true });
});
