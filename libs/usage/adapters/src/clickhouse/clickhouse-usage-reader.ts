import { AppError, assert } from '#libs/kernel';
import type { ClickHouseEngine, ClickHouseSession } from '#libs/platform/clickhouse';
import {
  UsageReader,
  type AttemptCursor,
  type AttemptView,
  type KeyActivity,
  type UsageFilter,
  type UsageQuestion,
  type UsageSums,
} from '#libs/usage/core';

import { activityQuery, attemptsQuery, sumsQuery } from './usage.query.js';
import {
  toAttemptView,
  toUsageSums,
  type AttemptRecord,
  type SumsRecord,
} from './usage-view.mapping.js';
import {
  hasWholeHours,
  mergeStateQuery,
  NOTHING_MERGED,
  toMergeState,
  type MergeState,
  type MergeStateRecord,
} from './whole-hours.query.js';

/** Most rows of one page: 1000 and the one that says whether there is another page. */
const MAX_PAGE_ROWS = 1001;

/** Most keys one question for activity names. */
const MAX_ACTIVITY_KEYS = 1000;

/** Reads of the ledger over a session of its own, so that no write waits behind a question. */
export class ClickHouseUsageReader extends UsageReader {
  private readonly session: ClickHouseSession;
  private readonly pings: ClickHouseSession;

  /** Connects on first use. */
  constructor(engine: ClickHouseEngine) {
    super();
    this.session = engine.session('read');
    this.pings = engine.session('read');
  }

  async sums(question: UsageQuestion): Promise<readonly UsageSums[]> {
    if (question.startMs >= question.endMs) return [];
    const query = sumsQuery(question, await this.mergeState(question));
    const found = await this.session.rows<SumsRecord>(query, query.params);
    if (found.length > question.maxRows) {
      throw new AppError({
        code: 'usage.too_many_rows',
        kind: 'invalid',
        publicMessage: `the answer would have more than ${question.maxRows} rows`,
        details: { maxRows: question.maxRows },
      });
    }
    return found.map((record) => toUsageSums(record, question));
  }

  async attempts(
    filter: UsageFilter,
    after: AttemptCursor | null,
    limit: number,
  ): Promise<readonly AttemptView[]> {
    assert(limit >= 1 && limit <= MAX_PAGE_ROWS, `a page has 1 to ${MAX_PAGE_ROWS} rows`);
    const query = attemptsQuery(filter, after, limit);
    const found = await this.session.rows<AttemptRecord>(query, query.params);
    return found.map(toAttemptView);
  }

  async activityOf(orgId: string, keyIds: readonly string[]): Promise<readonly KeyActivity[]> {
    assert(keyIds.length <= MAX_ACTIVITY_KEYS, `at most ${MAX_ACTIVITY_KEYS} keys a question`);
    if (keyIds.length === 0) return [];
    const query = activityQuery(orgId, keyIds);
    const found = await this.session.rows<{
      key_id: string;
      requests: string;
      last_used_ms: string;
    }>(query, query.params);
    return found.map((record) => ({
      keyId: record.key_id,
      requests: Number(record.requests),
      lastUsedMs: Number(record.last_used_ms),
    }));
  }

  private async mergeState(question: UsageQuestion): Promise<MergeState> {
    if (!hasWholeHours(question)) return NOTHING_MERGED;
    const query = mergeStateQuery(question);
    const [record] = await this.session.rows<MergeStateRecord>(query, query.params);
    assert(record !== undefined, 'an aggregate without GROUP BY has one row');
    return toMergeState(record);
  }

  /** In a session of its own: a long question must not make the process look dead. */
  ping(): Promise<void> {
    return this.pings.run({ name: 'usage.ping', sql: 'SELECT 1' });
  }

  async close(): Promise<void> {
    await this.session.close();
    await this.pings.close();
  }
}
