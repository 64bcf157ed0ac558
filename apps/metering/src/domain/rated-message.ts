import {
  eventHeaders,
  TOPICS,
  USAGE_RATED_V1,
  type BudgetScope,
  type RatedHold,
  type RatedSubject,
  type UsageRatedV1,
} from '#libs/events';
import type { LogRecordInput } from '#libs/event-log/core';
import { toRfc3339 } from '#libs/kernel';
import type { UsageRow } from '#libs/usage/core';

import type { BatchRange } from './batch-identity.js';
import { contiguousSeq, type StreamState } from './emitter-streams.js';

interface SubjectSums {
  readonly scope: BudgetScope;
  readonly subjectId: string;
  events: number;
  chargePicoUsd: bigint;
  tokensIn: number;
  tokensOut: number;
}

function subjectsOf(row: UsageRow): readonly (readonly [BudgetScope, string])[] {
  const subjects: (readonly [BudgetScope, string])[] = [['key', row.keyId]];
  if (row.teamId !== null) subjects.push(['team', row.teamId]);
  subjects.push(['user', row.userId], ['organisation', row.orgId]);
  return subjects;
}

function sumsOf(rows: readonly UsageRow[]): readonly SubjectSums[] {
  const sums = new Map<string, SubjectSums>();
  for (const row of rows) {
    for (const [scope, subjectId] of subjectsOf(row)) {
      const key = `${scope}\n${subjectId}`;
      let sum = sums.get(key);
      if (sum === undefined) {
        sum = { scope, subjectId, events: 0, chargePicoUsd: 0n, tokensIn: 0, tokensOut: 0 };
        sums.set(key, sum);
      }
      sum.events += 1;
      sum.chargePicoUsd += row.chargePicoUsd;
      sum.tokensIn += row.tokensIn;
      sum.tokensOut += row.tokensOut;
    }
  }
  return [...sums.values()];
}

/**
 * What a batch of `request.completed` amounts to for the budgets: one entry per subject with all its
 * charges, one per hold that ended. Also for a batch without rows, so that ranges stay contiguous.
 */
export function ratedMessage(
  batchId: string,
  range: BatchRange,
  rows: readonly UsageRow[],
  streams: readonly StreamState[],
): UsageRatedV1 {
  const holds: RatedHold[] = [];
  for (const row of rows) {
    if (row.holdId === null) continue;
    holds.push({
      hold_id: row.holdId,
      charge_pusd: row.chargePicoUsd.toString(),
      provenance: row.provenance,
    });
  }
  const subjects: readonly RatedSubject[] = sumsOf(rows).map((sum) => ({
    scope: sum.scope,
    subject_id: sum.subjectId,
    events: sum.events,
    charge_pusd: sum.chargePicoUsd.toString(),
    tokens_in: sum.tokensIn,
    tokens_out: sum.tokensOut,
  }));
  return {
    batch_id: batchId,
    source: {
      topic: range.topic,
      partition: range.partition,
      first: range.first.toString(),
      last: range.last.toString(),
    },
    subjects,
    holds,
    watermarks: streams.map((stream) => ({
      emitter_id: stream.emitterId,
      lane: stream.lane,
      seq: contiguousSeq(stream).toString(),
    })),
  };
}

/** The record that carries the message of a batch. */
export function ratedRecord(rated: UsageRatedV1, nowMs: number): LogRecordInput {
  const { batch_id: batchId, source } = rated;
  const headers = eventHeaders({
    id: batchId,
    type: USAGE_RATED_V1,
    service: 'metering',
    time: toRfc3339(nowMs),
    subject: batchId,
    partitionKey: String(source.partition),
  });
  return {
    topic: TOPICS.usageRated,
    partition: source.partition,
    key: batchId,
    headers: { ...headers },
    value: Buffer.from(JSON.stringify(rated)),
  };
}
