// What a batch becomes: rows, dead letters, watermarks and the message for the budgets.
import { describe, expect, test } from '@jest/globals';

import type { RequestCompletedV1 } from '#libs/events';
import type { LogRecordInput } from '#libs/event-log/core';
import { toRfc3339 } from '#libs/kernel';
import type { IdentifiedPrice } from '#libs/pricing/core';

import {
  asRead,
  completed,
  keyInPartition,
  NOW_MS,
  PARTITIONS,
  PRICE,
  rejected,
  SampleEmitter,
} from '../../test/sample-events.js';
import type { StreamState } from './emitter-streams.js';
import { formBatch, planBatch, type PlannedBatch } from './plan-batch.js';

const PRICES: ReadonlyMap<string, IdentifiedPrice> = new Map([[PRICE.priceId, PRICE]]);

function planOf(
  inputs: readonly LogRecordInput[],
  streams: readonly StreamState[] = [],
): PlannedBatch {
  return planBatch(formBatch(asRead(inputs), { logPartitions: PARTITIONS, streams }), PRICES);
}

function planOfEvents(...events: readonly RequestCompletedV1[]): PlannedBatch {
  const emitter = new SampleEmitter();
  return planOf(events.map((event) => emitter.completed(event)));
}

describe('rows', () => {
  test('a measured attempt is charged the exact price of its tokens', () => {
    const plan = planOfEvents(completed(1));
    expect(plan.usageRows).toMatchObject([
      {
        costPicoUsd: 2_000_000_000n,
        chargePicoUsd: 2_000_000_000n,
        tokensIn: 1000,
        tokensOut: 500,
        provenance: 'measured',
        flags: [],
        recordedAtMs: NOW_MS + 50,
        emitterSeq: 1n,
      },
    ]);
    expect(plan.digest).toMatchObject({ rows: 1, costPicoUsd: 2_000_000_000n });
    expect(plan.mismatches).toEqual([]);
  });

  test("our figure stands where the proxy's differs, and the row says so", () => {
    const plan = planOfEvents(completed(1, { cost_pusd: '1', charge_pusd: '1' }));
    expect(plan.usageRows[0]).toMatchObject({
      chargePicoUsd: 2_000_000_000n,
      flags: ['cost_mismatch'],
    });
    expect(plan.mismatches).toHaveLength(1);
  });

  test.each<[string, Partial<RequestCompletedV1>, bigint, string]>([
    [
      'unknown outcome: the hold',
      {
        provenance: 'estimated_hold',
        status: 'timeout',
        usage: {},
        usage_source: 'none',
        price_id: null,
        cost_pusd: '5000000000',
        charge_pusd: '5000000000',
      },
      5_000_000_000n,
      'estimated_hold',
    ],
    [
      'not sent: nothing',
      {
        provenance: 'zero_not_sent',
        usage: {},
        usage_source: 'none',
        price_id: null,
        cost_pusd: '0',
        charge_pusd: '0',
      },
      0n,
      'zero_not_sent',
    ],
    [
      'a complete error answer: nothing',
      {
        status: 'provider_error',
        http_status: 500,
        usage: {},
        usage_source: 'none',
        price_id: null,
        cost_pusd: '0',
        charge_pusd: '0',
      },
      0n,
      'measured',
    ],
    [
      'a partial estimate: its tokens',
      {
        provenance: 'estimated_partial',
        status: 'aborted',
        usage: { input_text: 1000 },
        cost_pusd: '1000000000',
        charge_pusd: '1000000000',
      },
      1_000_000_000n,
      'estimated_partial',
    ],
    [
      'a partial estimate above the hold: the hold',
      {
        provenance: 'estimated_partial',
        status: 'aborted',
        hold_pusd: '1500000000',
        cost_pusd: '1500000000',
        charge_pusd: '1500000000',
      },
      1_500_000_000n,
      'estimated_partial',
    ],
    [
      'a partial estimate without a token: the hold',
      {
        provenance: 'estimated_partial',
        status: 'aborted',
        usage: {},
        price_id: null,
        cost_pusd: '5000000000',
        charge_pusd: '5000000000',
      },
      5_000_000_000n,
      'estimated_hold',
    ],
    [
      'a call at its ceiling: the hold',
      {
        provenance: 'estimated_hold',
        price_state: 'ceiling',
        price_id: null,
        cost_pusd: '5000000000',
        charge_pusd: '5000000000',
      },
      5_000_000_000n,
      'estimated_hold',
    ],
  ])('%s', (_name, changes, charge, provenance) => {
    const row = planOfEvents(completed(1, changes)).usageRows[0];
    expect(row).toMatchObject({
      chargePicoUsd: charge,
      costPicoUsd: charge,
      provenance,
      flags: [],
    });
  });

  test('a cell without a rate settles at the hold, never at nothing', () => {
    const plan = planOfEvents(completed(1, { usage: { input_text: 1, cache_write_1h: 1 } }));
    expect(plan.usageRows[0]).toMatchObject({
      chargePicoUsd: 5_000_000_000n,
      provenance: 'estimated_hold',
      priceState: 'unknown',
      flags: ['no_rate', 'cost_mismatch'],
    });
  });

  test('a measured cost above the hold stands and is flagged', () => {
    const plan = planOfEvents(completed(1, { hold_pusd: '1' }));
    expect(plan.usageRows[0]).toMatchObject({ chargePicoUsd: 2_000_000_000n, flags: ['overrun'] });
  });

  test('refusals become rows without money and no message for the budgets', () => {
    const plan = planOf([new SampleEmitter().rejected(rejected(1))]);
    expect(plan).toMatchObject({
      table: 'rejection',
      rated: null,
      digest: { rows: 1, costPicoUsd: 0n },
    });
    expect(plan.rejectionRows).toMatchObject([{ reason: 'budget', code: 'budget_exceeded' }]);
  });
});

describe('repeats', () => {
  test('a record that arrived before adds nothing and is noted', () => {
    const emitter = new SampleEmitter();
    const first = emitter.completed(completed(1));
    const plan = planOf([first, first, emitter.completed(completed(2))]);
    expect(plan.usageRows).toHaveLength(2);
    expect(plan.dropped).toEqual([1n]);
  });

  test('a batch of repeats alone still reports its range to the budgets', () => {
    const known = { emitterId: 'e'.repeat(32), lane: 0, highSeq: 5n, gaps: [] };
    const emitter = new SampleEmitter();
    const plan = planOf(
      [emitter.completed(completed(1)), emitter.completed(completed(2))],
      [known],
    );
    expect(plan.digest.rows).toBe(0);
    expect(plan.rated).toMatchObject({
      source: { first: '0', last: '1' },
      subjects: [],
      holds: [],
    });
  });

  test('the batch formed again from its plan is the same', () => {
    const emitter = new SampleEmitter();
    const first = emitter.completed(completed(1));
    const records = asRead([first, first, emitter.completed(completed(2))]);
    const plan = planOf([first, first, emitter.completed(completed(2), 2n)]);
    const again = planBatch(
      formBatch(records, {
        logPartitions: PARTITIONS,
        streams: [],
        noted: { dropped: new Set(plan.dropped), refused: new Set(), unbooked: new Set() },
      }),
      PRICES,
    );
    expect(again.batchId).toBe(plan.batchId);
    expect(again.usageRows).toEqual(plan.usageRows);
  });
});

describe('dead letters', () => {
  test('a record that cannot be read is parked, and the others go on', () => {
    const emitter = new SampleEmitter();
    const broken = { ...emitter.completed(completed(1)), value: Buffer.from('{"no') };
    const plan = planOf([broken, emitter.completed(completed(2))]);
    expect(plan.deadLetters).toMatchObject([{ faultClass: 'not_json', booked: false }]);
    expect(plan.usageRows).toHaveLength(1);
    expect(plan.streams[0]!.after.highSeq).toBe(2n);
  });

  test('its money stays booked at the hold when the envelope can be read', () => {
    const hold = { hold_id: 'h.1', budgets: [] };
    const event = { ...completed(1, { hold, team_id: 'team-a' }), usage: { input_text: -1 } };
    const plan = planOf([new SampleEmitter().completed(event)]);
    expect(plan.deadLetters).toMatchObject([{ faultClass: 'malformed', booked: true }]);
    expect(plan.usageRows).toMatchObject([
      {
        chargePicoUsd: 5_000_000_000n,
        provenance: 'estimated_hold',
        flags: ['dead_letter'],
        holdId: 'h.1',
      },
    ]);
    expect(plan.rated?.holds).toEqual([
      { hold_id: 'h.1', charge_pusd: '5000000000', provenance: 'estimated_hold' },
    ]);
  });

  test.each<[string, Partial<RequestCompletedV1>]>([
    ['too old', { occurred_at: toRfc3339(NOW_MS - 36 * 86_400_000) }],
    ['in the future', { occurred_at: toRfc3339(NOW_MS + 10 * 60_000) }],
  ])('an event dated %s is quarantined', (_name, changes) => {
    expect(planOfEvents(completed(1, changes)).deadLetters).toMatchObject([
      { faultClass: 'implausible_time', booked: true },
    ]);
  });

  test('a record without a place in a stream is parked and books nothing', () => {
    const record = new SampleEmitter().completed(completed(1));
    const { ce_sequence: _dropped, ...headers } = record.headers;
    const plan = planOf([{ ...record, headers }]);
    expect(plan.deadLetters).toMatchObject([{ faultClass: 'no_stream', booked: false }]);
    expect(plan.streams).toEqual([]);
  });

  test('no error names content of the record', () => {
    const plan = planOfEvents(completed(1, { user_id: 'x'.repeat(300) }));
    expect(plan.deadLetters[0]!.error).not.toContain('xxx');
    const cell = planOfEvents(completed(1, { usage: { 'x\0': 1 } }));
    expect(cell.deadLetters).toMatchObject([{ error: 'usage must be a vector of known cells' }]);
  });

  test('an id that SQL text cannot hold is malformed', () => {
    const plan = planOfEvents(completed(1, { user_id: 'a\0b' }));
    expect(plan.deadLetters).toMatchObject([{ faultClass: 'malformed', booked: false }]);
  });

  test.each<[string, Partial<RequestCompletedV1>]>([
    ['empty', { model_served: '', finish_reason: '', upstream_request_id: '' }],
    ['cut inside a character', { model_requested: 'm\ud83d', finish_reason: '\ude00' }],
    ['longer than its column', { model_served: 'm'.repeat(5000) }],
  ])('a name by the caller or the provider that is %s costs no measurement', (_name, changes) => {
    const plan = planOfEvents(completed(1, changes));
    expect(plan.deadLetters).toEqual([]);
    expect(plan.usageRows).toMatchObject([{ provenance: 'measured', costPicoUsd: 2_000_000_000n }]);
  });
});

test('a team that is a mere label is in the ledger and not among the charged subjects', () => {
  const label = { team_id: 'team', team_is_label: true } as const;
  const broken = { ...completed(3, label), usage: { input_text: -1 } };
  const plan = planOfEvents(completed(1, label), completed(2, { team_id: 'team' }), broken);
  expect(plan.usageRows.map(({ teamId }) => teamId)).toEqual(['team', 'team', 'team']);
  const [team] = plan.rated!.subjects.filter(({ scope }) => scope === 'team');
  expect(team).toMatchObject({ subject_id: 'team', events: 1, charge_pusd: '2000000000' });
});

test('the message sums charges per key, team, user and organisation, and names every ended hold', () => {
  const keyA = keyInPartition(0);
  const keyB = keyInPartition(0, 1);
  const hold = (id: string): RequestCompletedV1['hold'] => ({ hold_id: id, budgets: [] });
  const plan = planOfEvents(
    completed(1, { key_id: keyA, team_id: 'team', hold: hold('1.1') }),
    completed(2, { key_id: keyB, team_id: 'team', hold: hold('2.1') }),
    completed(3, { key_id: keyB, team_id: 'team' }),
  );
  const sums = plan.rated!.subjects.map((subject) => [
    subject.scope,
    subject.subject_id,
    subject.events,
    subject.charge_pusd,
  ]);
  expect(sums).toEqual([
    ['key', keyA, 1, '2000000000'],
    ['team', 'team', 3, '6000000000'],
    ['user', 'user-1', 3, '6000000000'],
    ['organisation', 'default', 3, '6000000000'],
    ['key', keyB, 2, '4000000000'],
  ]);
  expect(plan.rated!.holds.map(({ hold_id }) => hold_id)).toEqual(['1.1', '2.1']);
  expect(plan.rated!.watermarks).toEqual([{ emitter_id: 'e'.repeat(32), lane: 0, seq: '3' }]);
});
