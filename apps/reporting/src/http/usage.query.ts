import { parseUuid } from '#libs/kernel';
import { invalidInput, type FieldFault } from '#libs/platform/http';
import type { AttemptCursor, UsageFilter, UsageGrouping, UsageQuestion } from '#libs/usage/core';

import { parsePageCursor, type PageCursor } from './page-cursor.js';
import { parseTime } from './rfc3339.query.js';

/** What stands in the query of a request: a repeated member is a list. */
export type RawQuery = Readonly<Record<string, string | readonly string[] | undefined>>;

/** A question without the organisation, which the caller decides. */
export type AskedFilter = Omit<UsageFilter, 'orgId'>;

/** What `GET /v1/usage` asks. */
export interface SumsAsked extends AskedFilter {
  readonly bucket: UsageQuestion['bucket'];
  readonly groupBy: readonly UsageGrouping[];
}

/** What `GET /v1/usage/requests` asks. */
export interface AttemptsAsked extends AskedFilter {
  readonly after: AttemptCursor | null;
  readonly limit: number;
}

const DEFAULT_RANGE_MS = 86_400_000;
const DEFAULT_PAGE_ROWS = 100;
const MAX_PAGE_ROWS = 1000;
const MAX_GROUPINGS = 3;
/** Most values of one filter, and the longest of them in characters. */
const MAX_FILTER_VALUES = 100;
const MAX_VALUE_CHARS = 256;

const BUCKETS = ['hour', 'day', 'none'] as const;
const GROUPINGS: readonly UsageGrouping[] = ['key', 'team', 'user', 'model', 'provider'];
const RANGE_MEMBERS = ['start', 'end'] as const;
const FILTER_MEMBERS = ['key_id', 'team_id', 'user_id', 'model', 'provider'] as const;

/**
 * Reads the query of `GET /v1/usage`.
 * @throws AppError `input.invalid` naming every faulty or unknown member
 */
export function readSumsQuery(query: RawQuery, nowMs: number): SumsAsked {
  const reading = new QueryReading(query);
  reading.refuseOthers([...RANGE_MEMBERS, ...FILTER_MEMBERS, 'bucket', 'group_by']);
  const asked = {
    ...reading.range(nowMs, null),
    ...reading.filters(),
    bucket: reading.choice('bucket', BUCKETS, 'none'),
    groupBy: reading.groupBy(),
  };
  reading.end();
  return asked;
}

/**
 * Reads the query of `GET /v1/usage/requests`. A page that names no range has the range of the first.
 * @throws AppError `input.invalid` naming every faulty or unknown member
 */
export function readAttemptsQuery(query: RawQuery, nowMs: number): AttemptsAsked {
  const reading = new QueryReading(query);
  reading.refuseOthers([...RANGE_MEMBERS, ...FILTER_MEMBERS, 'limit', 'page']);
  const page = reading.page();
  const asked = {
    ...reading.range(nowMs, page),
    ...reading.filters(),
    limit: reading.limit(),
    after: page?.after ?? null,
  };
  reading.end();
  return asked;
}

/** One pass over a query that gathers every fault before it gives up. */
class QueryReading {
  private readonly faults: FieldFault[] = [];

  constructor(private readonly query: RawQuery) {}

  refuseOthers(known: readonly string[]): void {
    for (const name of Object.keys(this.query)) {
      if (!known.includes(name)) this.fault(name, 'this member is not known', 'extra_forbidden');
    }
  }

  range(
    nowMs: number,
    page: PageCursor | null,
  ): { readonly startMs: number; readonly endMs: number } {
    const endMs = this.time('end') ?? page?.endMs ?? nowMs;
    const startMs = this.time('start') ?? page?.startMs ?? endMs - DEFAULT_RANGE_MS;
    if (startMs >= endMs) this.fault('end', 'must be after start', 'value_error');
    return { startMs, endMs };
  }

  filters(): Omit<AskedFilter, 'startMs' | 'endMs'> {
    return {
      keyIds: this.values('key_id').map((value) => parseUuid(value) ?? value),
      teamIds: this.values('team_id'),
      userIds: this.values('user_id'),
      models: this.values('model'),
      providers: this.values('provider'),
    };
  }

  groupBy(): readonly UsageGrouping[] {
    const text = this.single('group_by');
    if (text === null) return [];
    const names = text.split(',');
    const known = names.filter((name): name is UsageGrouping =>
      (GROUPINGS as readonly string[]).includes(name),
    );
    if (known.length !== names.length || new Set(names).size !== names.length) {
      this.fault('group_by', `is a comma list of ${GROUPINGS.join(', ')}, each once`, 'enum');
    } else if (names.length > MAX_GROUPINGS) {
      this.fault('group_by', `names at most ${MAX_GROUPINGS} members`, 'too_long');
    }
    return known;
  }

  choice<T extends string>(name: string, choices: readonly T[], fallback: T): T {
    const text = this.single(name);
    if (text === null) return fallback;
    const chosen = choices.find((choice) => choice === text);
    if (chosen === undefined) this.fault(name, `is one of ${choices.join(', ')}`, 'enum');
    return chosen ?? fallback;
  }

  limit(): number {
    const text = this.single('limit');
    if (text === null) return DEFAULT_PAGE_ROWS;
    const value = /^\d{1,4}$/.test(text) ? Number(text) : 0;
    if (value < 1 || value > MAX_PAGE_ROWS) {
      this.fault('limit', `is a whole number from 1 to ${MAX_PAGE_ROWS}`, 'value_error');
    }
    return value;
  }

  page(): PageCursor | null {
    const text = this.single('page');
    if (text === null) return null;
    const cursor = parsePageCursor(text);
    if (cursor === null) this.fault('page', 'is not a next_page of this route', 'value_error');
    return cursor;
  }

  end(): void {
    if (this.faults.length > 0) throw invalidInput(this.faults);
  }

  private time(name: string): number | null {
    const text = this.single(name);
    if (text === null) return null;
    const timeMs = parseTime(text);
    if (timeMs === null) this.fault(name, 'is not an RFC 3339 time', 'value_error');
    return timeMs;
  }

  private single(name: string): string | null {
    const value = this.query[name];
    if (value === undefined) return null;
    if (typeof value === 'string') return value;
    this.fault(name, 'may be given once', 'value_error');
    return null;
  }

  private values(name: string): readonly string[] {
    const given = this.query[name];
    if (given === undefined) return [];
    const values = typeof given === 'string' ? [given] : given;
    if (values.length > MAX_FILTER_VALUES) {
      this.fault(name, `may be given ${MAX_FILTER_VALUES} times`, 'too_long');
    }
    if (values.some((value) => value === '' || value.length > MAX_VALUE_CHARS)) {
      this.fault(name, `has 1 to ${MAX_VALUE_CHARS} characters`, 'value_error');
    }
    return values;
  }

  private fault(name: string, message: string, type: string): void {
    this.faults.push({ in: 'query', path: [name], message, type });
  }
}
