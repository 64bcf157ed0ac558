import {
  Controller,
  Get,
  HttpCode,
  Param,
  Post,
  Query,
  Res,
  UseFilters,
  UseGuards,
} from '@nestjs/common';
import type { FastifyReply } from 'fastify';

import { invalidInput, ProblemErrorFilter, type FieldFault } from '#libs/platform/http';
import {
  isDeadLetterPlace,
  unknownDeadLetter,
  type DeadLetterDetail,
  type DeadLetterState,
  type DeadLetterView,
} from '#libs/platform/postgres';

import {
  DeadLetterDesks,
  LETTER_SERVICES,
  type DeadLetterAddress,
  type DeadLetterSearch,
} from './dead-letter-desks.js';
import { DeadLetterRetries } from './dead-letter-retries.js';
import { OperatorGuard } from './operator.guard.js';

const STATES: readonly DeadLetterState[] = ['parked', 'retried', 'discarded'];
const DEFAULT_PAGE_ROWS = 100;
const MAX_PAGE_ROWS = 1_000;
const ACCEPTED = 202;
const LETTER = '/:service/:topic/:partition/:offset';

type RawQuery = Readonly<Record<string, unknown>>;

/** The parts of a path that names a letter. */
interface LetterParams {
  readonly service: string;
  readonly topic: string;
  readonly partition: string;
  readonly offset: string;
}

/** A page of letters. */
export interface DeadLetterListOnWire {
  readonly data: readonly DeadLetterView[];
  readonly has_more: boolean;
  readonly next_cursor: string | null;
  /** Services that did not answer: their letters are not shown. */
  readonly unreachable: readonly string[];
}

/** `/api/dead-letters`: records that services could never read, for the operator. */
@Controller('/api/dead-letters')
@UseFilters(ProblemErrorFilter)
@UseGuards(OperatorGuard)
export class DeadLettersController {
  constructor(
    private readonly desks: DeadLetterDesks,
    private readonly retries: DeadLetterRetries,
  ) {}

  /** Letters by service, topic, partition and offset, page by page. */
  @Get()
  async list(@Query() query: RawQuery): Promise<DeadLetterListOnWire> {
    const asked = readSearch(query);
    const { letters, unreachable } = await this.desks.list({ ...asked, limit: asked.limit + 1 });
    const data = letters.slice(0, asked.limit);
    const last = data.at(-1);
    const hasMore = letters.length > asked.limit && last !== undefined;
    return { data, has_more: hasMore, next_cursor: hasMore ? last.id : null, unreachable };
  }

  @Get(LETTER)
  async show(@Param() params: LetterParams): Promise<DeadLetterDetail> {
    const { service, place } = addressOf(params);
    return this.desks.of(service).show(place);
  }

  /**
   * Has the record dealt with by the code of today; a repeat changes nothing. 202 when its service is
   * away: it is tried again by itself, and `show` says what became of it.
   */
  @Post(`${LETTER}/retry`)
  @HttpCode(200)
  async retry(
    @Param() params: LetterParams,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<DeadLetterView | { readonly id: string; readonly state: 'accepted' }> {
    const address = addressOf(params);
    const letter = await this.retries.retry(address);
    if (letter !== null) return letter;
    void reply.code(ACCEPTED);
    return { id: `${address.service}/${address.place}`, state: 'accepted' };
  }
}

/** @throws AppError `dead_letter.unknown` */
function addressOf({ service, topic, partition, offset }: LetterParams): DeadLetterAddress {
  const address = parseAddress(`${service}/${topic}/${partition}/${offset}`);
  if (address === null) throw unknownDeadLetter();
  return address;
}

function parseAddress(id: string): DeadLetterAddress | null {
  const end = id.indexOf('/');
  const address = { service: id.slice(0, end), place: id.slice(end + 1) };
  const isKnown = LETTER_SERVICES.includes(address.service) && isDeadLetterPlace(address.place);
  return isKnown ? address : null;
}

/** @throws AppError `input.invalid` naming every faulty or unknown member */
function readSearch(query: RawQuery): DeadLetterSearch {
  const faults: FieldFault[] = [];
  const refuse = (name: string, message: string, type = 'value_error'): null => {
    faults.push({ in: 'query', path: [name], message, type });
    return null;
  };
  for (const name of Object.keys(query)) {
    if (!['service', 'state', 'topic', 'cursor', 'limit'].includes(name)) {
      refuse(name, 'this member is not known', 'extra_forbidden');
    }
  }
  const text = (name: string): string | null => {
    const value = query[name];
    if (value === undefined || value === '') return null;
    return typeof value === 'string' ? value : refuse(name, 'must stand once');
  };
  const oneOf = (name: string, values: readonly string[]): string | null => {
    const value = text(name);
    if (value === null || values.includes(value)) return value;
    return refuse(name, `must be one of ${values.join(', ')}`);
  };
  const service = oneOf('service', LETTER_SERVICES);
  const state = oneOf('state', STATES) as DeadLetterState | null;
  const cursor = text('cursor');
  const after = cursor === null ? null : parseAddress(cursor);
  if (cursor !== null && after === null) refuse('cursor', 'must be a next_cursor of this list');
  const limit = text('limit');
  const isLimit =
    limit === null || (/^[1-9]\d{0,3}$/.test(limit) && Number(limit) <= MAX_PAGE_ROWS);
  if (!isLimit) refuse('limit', `must be a whole number from 1 to ${MAX_PAGE_ROWS}`);
  const topic = text('topic');
  if (faults.length > 0) throw invalidInput(faults);
  return {
    service,
    state,
    topic,
    after,
    limit: limit === null ? DEFAULT_PAGE_ROWS : Number(limit),
  };
}
