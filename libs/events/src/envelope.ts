/**
 * CloudEvents 1.0 attributes in binary mode: `ce_*` record headers; the record value is the data as
 * JSON. `ce_sequence`, `ce_lane` and `ce_emitterid` identify the record in its emitter's stream.
 * @source CloudEvents 1.0.2, Kafka protocol binding section 3.2
 */
export interface EventHeaders {
  readonly ce_id: string;
  readonly ce_source: string;
  readonly ce_specversion: '1.0';
  /** `<subject>.<verb>.v<major>` */
  readonly ce_type: string;
  /** RFC 3339, UTC. */
  readonly ce_time: string;
  readonly ce_subject: string;
  readonly ce_dataschema: string;
  readonly ce_partitionkey: string;
  readonly 'content-type': 'application/json';
  /** 32 hex digits. */
  readonly ce_emitterid?: string;
  /** Decimal text, >= 0. */
  readonly ce_lane?: string;
  /** Decimal text, from 1 without gaps per emitter and lane. */
  readonly ce_sequence?: string;
}

/** What the emitter says of an event; the rest of the headers follows. */
export interface EventDescription {
  readonly id: string;
  readonly type: string;
  /** The emitting service, for example `proxy`. */
  readonly service: string;
  readonly time: string;
  readonly subject: string;
  readonly partitionKey: string;
  readonly stream?: {
    readonly emitterId: string;
    readonly lane: number;
    readonly sequence: bigint;
  };
}

/** The headers of one event record. */
export function eventHeaders(event: EventDescription): EventHeaders {
  const { type, stream } = event;
  const headers: Mutable<EventHeaders> = {
    ce_id: event.id,
    ce_source: `/tollgate/${event.service}`,
    ce_specversion: '1.0',
    ce_type: type,
    ce_time: event.time,
    ce_subject: event.subject,
    ce_dataschema: `urn:tollgate:event:${type}`,
    ce_partitionkey: event.partitionKey,
    'content-type': 'application/json',
  };
  if (stream !== undefined) {
    headers.ce_emitterid = stream.emitterId;
    headers.ce_lane = String(stream.lane);
    headers.ce_sequence = String(stream.sequence);
  }
  return headers;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * Splits an event type into its name and major version.
 * @returns null when the text has not the form `<subject>.<verb>.v<major>`
 */
export function parseEventType(type: string): { name: string; major: number } | null {
  const match = /^([a-z_]+\.[a-z_]+)\.v(\d{1,4})$/.exec(type);
  return match === null ? null : { name: match[1]!, major: Number(match[2]) };
}
