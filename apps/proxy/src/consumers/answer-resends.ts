import type { LogRecord } from '#libs/event-log/core';
import { EMITTER_RESEND_V1, type EmitterRangeV1 } from '#libs/events';
import type { SpoolRelay } from '#libs/spool/core';

/** What a request to send records once more is answered with. */
export interface AnswerResendsParts {
  readonly relay: Pick<SpoolRelay, 'resend'>;
  readonly emitterId: string;
  /** Lanes of the emitter: two topics times `LOG_PARTITIONS`. */
  readonly lanes: number;
  /** Told of a request that cannot be read or queued; it is asked again by whoever still misses it. */
  readonly onRefused: (reason: string) => void;
}

/** Hands requests about the own emitter to the relay; those about others are for other processes. */
export class AnswerResends {
  constructor(private readonly parts: AnswerResendsParts) {}

  apply(record: LogRecord): void {
    if (record.headers['ce_type'] !== EMITTER_RESEND_V1) return;
    const { relay, emitterId, onRefused } = this.parts;
    const asked = readRange(record);
    if (asked === null) return onRefused('a request to send records again cannot be read');
    if (asked.emitter_id !== emitterId) return;
    const { lane } = asked;
    const [from, to] = [BigInt(asked.from_seq), BigInt(asked.to_seq)];
    if (lane >= this.parts.lanes || from > to) return onRefused('a range that cannot be asked for');
    if (!relay.resend({ lane, from, to })) onRefused('too many ranges are asked for');
  }
}

function readRange({ value }: LogRecord): EmitterRangeV1 | null {
  try {
    const range = JSON.parse(Buffer.from(value).toString()) as EmitterRangeV1;
    const isCounter = (text: unknown): boolean =>
      typeof text === 'string' && /^[1-9]\d{0,14}$/.test(text);
    const isSound =
      typeof range.emitter_id === 'string' &&
      Number.isInteger(range.lane) &&
      range.lane >= 0 &&
      isCounter(range.from_seq) &&
      isCounter(range.to_seq);
    return isSound ? range : null;
  } catch {
    return null;
  }
}
