import type { LogRecord, LogRecordInput } from '../../../core/src/index.js';

/** A record as the client decodes it. */
export interface KafkaMessage {
  readonly offset: string;
  /** Milliseconds UTC; the broker's own time, because topics are made with `LogAppendTime`. */
  readonly timestamp: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer | Buffer[]>>;
  readonly isControlRecord: boolean;
}

/** Bytes that Kafka adds to a record beside key, value and headers, at most. */
const RECORD_OVERHEAD_BYTES = 32;

/** Size of a record, bytes, within a few per cent of what it takes in the log. */
export function sizeOf(record: LogRecordInput): number {
  let size = RECORD_OVERHEAD_BYTES + record.key.length + record.value.byteLength;
  for (const name in record.headers) size += name.length + record.headers[name]!.length;
  return size;
}

/** The record for a message of a partition. */
export function fromMessage(topic: string, partition: number, message: KafkaMessage): LogRecord {
  return {
    topic,
    partition,
    offset: BigInt(message.offset),
    appendedAtMs: Number(message.timestamp),
    key: message.key?.toString() ?? '',
    headers: fromHeaders(message.headers),
    value: message.value ?? Buffer.alloc(0),
  };
}

function fromHeaders(headers: KafkaMessage['headers']): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const name in headers) {
    const value = headers[name]!;
    // Of a header that is given twice the last one counts; we never write one twice.
    texts[name] = (Array.isArray(value) ? value.at(-1)! : value).toString();
  }
  return texts;
}
