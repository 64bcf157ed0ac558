import {
  Controller,
  Get,
  HttpCode,
  Inject,
  Param,
  Post,
  Query,
  UseFilters,
  UseGuards,
} from '@nestjs/common';

import { TOPICS } from '#libs/events';
import { toRfc3339 } from '#libs/kernel';
import { invalidInput, ProblemErrorFilter, type FieldFault } from '#libs/platform/http';
import {
  Database,
  listDeadLetters,
  readDeadLetter,
  type DeadLetterPlace,
  type DeadLetterQuestion,
  type DeadLetterState,
  type ListedDeadLetter,
} from '#libs/platform/postgres';

import { OperatorGuard } from './operator.guard.js';
import { idOf, RetryDeadLetter, unknownLetter } from './retry-dead-letter.use-case.js';

/** The database of the letters, as a provider. */
export const LETTER_DATABASE = Symbol('LETTER_DATABASE');

const STATES: readonly DeadLetterState[] = ['parked', 'retried', 'discarded'];
const DEFAULT_PAGE_ROWS = 100;
const MAX_PAGE_ROWS = 1_000;

type RawQuery = Readonly<Record<string, unknown>>;

/** A letter of a list. */
export interface DeadLetterOnWire {
  /** `<topic>/<partition>/<offset>`, which is also its path. */
  readonly id: string;
  readonly service: 'metering';
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly class: string;
  readonly error: string;
  readonly state: DeadLetterState;
  /**
   * `booked`: a row at the hold stands in the ledger; `unknown`: the record does not say what was
   * held, and the hold stays open; `none`: refusals hold nothing.
   */
  readonly hold: 'booked' | 'unknown' | 'none';
  readonly bytes: number;
  readonly parked_at: string;
}

/** One letter with its record: the value as text and as hex digits. */
export interface DeadLetterDetailOnWire extends DeadLetterOnWire {
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly payload_text: string;
  readonly payload_hex: string;
}

/** `/api/dead-letters`: records that metering could never read, for the operator. */
@Controller('/api/dead-letters')
@UseFilters(ProblemErrorFilter)
@UseGuards(OperatorGuard)
export class DeadLettersController {
  constructor(
    @Inject(LETTER_DATABASE) private readonly database: Database,
    private readonly retryLetter: RetryDeadLetter,
  ) {}

  /** Letters by topic, partition and offset, page by page. */
  @Get()
  async list(@Query() query: RawQuery): Promise<object> {
    const asked = readQuestion(query);
    const found = await listDeadLetters(this.database, { ...asked, limit: asked.limit + 1 });
    const shown = found.slice(0, asked.limit);
    const last = shown.at(-1);
    const hasMore = found.length > asked.limit && last !== undefined;
    return {
      data: shown.map(toWire),
      has_more: hasMore,
      next_cursor: hasMore ? idOf(last) : null,
    };
  }

  @Get('/:topic/:partition/:offset')
  async show(
    @Param('topic') topic: string,
    @Param('partition') partition: string,
    @Param('offset') offset: string,
  ): Promise<DeadLetterDetailOnWire> {
    const place = parsePlace([topic, partition, offset]);
    const letter = place === null ? null : await readDeadLetter(this.database, place);
    if (letter === null) throw unknownLetter();
    return {
      ...toWire(letter),
      key: letter.key.toString(),
      headers: letter.headers,
      payload_text: letter.value.toString(),
      payload_hex: letter.value.toString('hex'),
    };
  }

  /** Reads the record with the code of today and appends it again; a repeat changes nothing. */
  @Post('/:topic/:partition/:offset/retry')
  @HttpCode(200)
  async retry(
    @Param('topic') topic: string,
    @Param('partition') partition: string,
    @Param('offset') offset: string,
  ): Promise<DeadLetterOnWire> {
    const place = parsePlace([topic, partition, offset]);
    if (place === null) throw unknownLetter();
    return toWire(await this.retryLetter.execute(place));
  }
}

function toWire(letter: ListedDeadLetter): DeadLetterOnWire {
  return {
    id: idOf(letter),
    service: 'metering',
    topic: letter.topic,
    partition: letter.partition,
    offset: letter.offset.toString(),
    class: letter.faultClass,
    error: letter.error,
    state: letter.state,
    hold: letter.booked ? 'booked' : letter.topic === TOPICS.requestCompleted ? 'unknown' : 'none',
    bytes: letter.bytes,
    parked_at: toRfc3339(letter.parkedAtMs),
  };
}

function parsePlace([topic, partition, offset]: readonly string[]): DeadLetterPlace | null {
  if (topic === undefined || !/^[a-z][a-z0-9._-]{0,254}$/.test(topic)) return null;
  if (partition === undefined || !/^\d{1,5}$/.test(partition)) return null;
  if (offset === undefined || !/^\d{1,18}$/.test(offset)) return null;
  return { topic, partition: Number(partition), offset: BigInt(offset) };
}

/** @throws AppError `input.invalid` naming every faulty or unknown member */
function readQuestion(query: RawQuery): DeadLetterQuestion {
  const faults: FieldFault[] = [];
  const refuse = (name: string, message: string, type = 'value_error'): null => {
    faults.push({ in: 'query', path: [name], message, type });
    return null;
  };
  for (const name of Object.keys(query)) {
    if (!['state', 'topic', 'cursor', 'limit'].includes(name)) {
      refuse(name, 'this member is not known', 'extra_forbidden');
    }
  }
  const text = (name: string): string | null => {
    const value = query[name];
    if (value === undefined || value === '') return null;
    return typeof value === 'string' ? value : refuse(name, 'must stand once');
  };
  const state = text('state');
  const cursor = text('cursor');
  const limit = text('limit');
  const after = cursor === null ? null : parsePlace(cursor.split('/'));
  if (cursor !== null && after === null) refuse('cursor', 'must be a next_cursor of this list');
  const isState = STATES.includes(state as DeadLetterState);
  if (state !== null && !isState) refuse('state', `must be one of ${STATES.join(', ')}`);
  const isLimit =
    limit === null || (/^[1-9]\d{0,3}$/.test(limit) && Number(limit) <= MAX_PAGE_ROWS);
  if (!isLimit) refuse('limit', `must be a whole number from 1 to ${MAX_PAGE_ROWS}`);
  const topic = text('topic');
  if (faults.length > 0) throw invalidInput(faults);
  return {
    state: state as DeadLetterState | null,
    topic,
    after,
    limit: limit === null ? DEFAULT_PAGE_ROWS : Number(limit),
  };
}
