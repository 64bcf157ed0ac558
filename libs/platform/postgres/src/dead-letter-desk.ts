import { AppError, toRfc3339 } from '#libs/kernel';

import type { Database, Transaction } from './database.js';
import {
  listDeadLetters,
  markDeadLetterRetried,
  readDeadLetter,
  type DeadLetterPlace,
  type DeadLetterState,
  type ListedDeadLetter,
  type StoredDeadLetter,
} from './dead-letters.js';

/** A letter as people are shown it. */
export interface DeadLetterView {
  /** `<service>/<topic>/<partition>/<offset>`. */
  readonly id: string;
  /** Whose consumer could not read the record. */
  readonly service: string;
  readonly topic: string;
  readonly partition: number;
  /** A decimal integer. */
  readonly offset: string;
  readonly class: string;
  readonly error: string;
  readonly state: DeadLetterState;
  /**
   * `booked`: a row at the hold stands in the ledger; `unknown`: the record does not say what was
   * held, and the hold stays open; `none`: records of this kind hold nothing.
   */
  readonly hold: 'booked' | 'unknown' | 'none';
  /** Length of the value. */
  readonly bytes: number;
  /** RFC 3339, UTC. */
  readonly parked_at: string;
}

/** One letter with its record: the value as text and as hex digits. */
export interface DeadLetterDetail extends DeadLetterView {
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly payload_text: string;
  readonly payload_hex: string;
}

/** Which letters of one service are listed, by topic, partition and offset. */
export interface DeadLetterListing {
  /** null = all. */
  readonly state: DeadLetterState | null;
  /** null = all. */
  readonly topic: string | null;
  /** Only those behind this place; null = from the first on. */
  readonly after: string | null;
  readonly limit: number;
}

/** What other services may call of a desk. */
export const DEAD_LETTER_DESK_METHODS = ['list', 'show', 'retry'] as const;

/** The part of a desk that other services may call. */
export type DeadLetterDeskPort = Pick<DeadLetterDesk, (typeof DEAD_LETTER_DESK_METHODS)[number]>;

/** What a desk works with. */
export interface DeadLetterDeskParts {
  /** As people call it. */
  readonly service: string;
  /** Its schema has the table `dead_letter`. */
  readonly database: Database;
  /**
   * Reads a parked, locked letter with the code of today and does what its consumer should have done,
   * all in the transaction; it must bear a record that was dealt with before.
   * @throws AppError of kind `conflict` when it still cannot be read: nothing changes then
   */
  readonly retry: (tx: Transaction, letter: StoredDeadLetter) => Promise<void>;
  /** What became of the money of letters without a row. @default none */
  readonly holdOf?: (letter: ListedDeadLetter) => 'unknown' | 'none';
}

/**
 * The dead letters of one service, for people. A place is `<topic>/<partition>/<offset>`; arguments
 * and results are plain JSON.
 */
export class DeadLetterDesk {
  constructor(private readonly parts: DeadLetterDeskParts) {}

  /** Letters in order of topic, partition and offset. */
  async list({ after, ...asked }: DeadLetterListing): Promise<readonly DeadLetterView[]> {
    const question = { ...asked, after: after === null ? null : placeOf(after) };
    const letters = await listDeadLetters(this.parts.database, question);
    return letters.map((letter) => this.view(letter));
  }

  /** @throws AppError `dead_letter.unknown` */
  async show(place: string): Promise<DeadLetterDetail> {
    const letter = await readDeadLetter(this.parts.database, placeOf(place));
    if (letter === null) throw unknownDeadLetter();
    return {
      ...this.view(letter),
      key: letter.key.toString(),
      headers: letter.headers,
      payload_text: letter.value.toString(),
      payload_hex: letter.value.toString('hex'),
    };
  }

  /**
   * Does what the consumer should have done, and notes it, in one transaction; a letter that was
   * retried before is left as it is. Safe to repeat and to call at once.
   * @throws AppError `dead_letter.unknown` (not_found); `dead_letter.booked`, `dead_letter.discarded`
   *   and whatever the service refuses with (conflict)
   */
  retry(place: string): Promise<DeadLetterView> {
    return this.parts.database.transaction(async (tx) => {
      const letter = await readDeadLetter(tx, placeOf(place));
      if (letter === null) throw unknownDeadLetter();
      if (letter.state === 'retried') return this.view(letter);
      if (letter.state === 'discarded') throw refuseRetry('discarded', 'the letter was discarded');
      if (letter.booked) throw refuseRetry('booked', BOOKED);
      await this.parts.retry(tx, letter);
      await markDeadLetterRetried(tx, letter);
      return this.view({ ...letter, state: 'retried' });
    });
  }

  private view(letter: ListedDeadLetter): DeadLetterView {
    const { service, holdOf } = this.parts;
    return {
      id: `${service}/${placeText(letter)}`,
      service,
      topic: letter.topic,
      partition: letter.partition,
      offset: letter.offset.toString(),
      class: letter.faultClass,
      error: letter.error,
      state: letter.state,
      hold: letter.booked ? 'booked' : (holdOf?.(letter) ?? 'none'),
      bytes: letter.bytes,
      parked_at: toRfc3339(letter.parkedAtMs),
    };
  }
}

const BOOKED =
  'a row at its hold stands in the ledger for it; that row can only be put right by an adjustment';

/** `<topic>/<partition>/<offset>`. */
export function placeText({ topic, partition, offset }: DeadLetterPlace): string {
  return `${topic}/${partition}/${offset}`;
}

const PLACE = /^([a-z][a-z0-9._-]{0,99})\/(\d{1,5})\/(\d{1,18})$/;

/** Whether a text names a place; nothing is said of what is there. */
export function isDeadLetterPlace(text: string): boolean {
  return PLACE.test(text);
}

/** @throws AppError `dead_letter.unknown` when the text names no place */
function placeOf(text: string): DeadLetterPlace {
  const match = PLACE.exec(text);
  if (match === null) throw unknownDeadLetter();
  return { topic: match[1]!, partition: Number(match[2]), offset: BigInt(match[3]!) };
}

/** No such letter. */
export function unknownDeadLetter(): AppError {
  return new AppError({
    code: 'dead_letter.unknown',
    kind: 'not_found',
    publicMessage: 'there is no such dead letter',
  });
}

/** Why a letter is not retried; it stays as it is. @param message for people */
export function refuseRetry(
  word: 'booked' | 'unreadable' | 'repeat' | 'discarded',
  message: string,
): AppError {
  return new AppError({ code: `dead_letter.${word}`, kind: 'conflict', publicMessage: message });
}
