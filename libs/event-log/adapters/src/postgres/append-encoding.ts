import type { LogRecordInput } from '../../../core/src/index.js';
import { tooLarge } from '../log-errors.js';

/** Most bytes of one append: far above any batch of ours, far below what PostgreSQL takes. */
const MAX_APPEND_BYTES = 64 * 1024 * 1024;

/** The parameters of the function `event_log.append`. */
export interface EncodedAppend {
  readonly topics: readonly string[];
  readonly partitions: readonly number[];
  /** Array literals: the driver's own coding of an array costs more than the rest of the call. */
  readonly targets: string;
  readonly lengths: string;
  readonly blob: Buffer;
}

/**
 * Packs a batch into one buffer: key, headers as JSON, value, record after record.
 * @throws AppError `event_log.too_large` above 64 MiB
 */
export function encodeAppend(records: readonly LogRecordInput[]): EncodedAppend {
  const targetIds = new Map<string, number>();
  const topics: string[] = [];
  const partitions: number[] = [];
  const targets: number[] = [];
  const lengths: number[] = [];
  const headerTexts: string[] = [];
  let size = 0;
  for (const record of records) {
    const id = `${record.topic}/${record.partition}`;
    let target = targetIds.get(id);
    if (target === undefined) {
      topics.push(record.topic);
      partitions.push(record.partition);
      target = topics.length;
      targetIds.set(id, target);
    }
    const headers = JSON.stringify(record.headers);
    const keyBytes = Buffer.byteLength(record.key);
    const headerBytes = Buffer.byteLength(headers);
    targets.push(target);
    headerTexts.push(headers);
    lengths.push(keyBytes, headerBytes, record.value.byteLength);
    size += keyBytes + headerBytes + record.value.byteLength;
  }
  if (size > MAX_APPEND_BYTES) throw tooLarge(size, MAX_APPEND_BYTES);
  const blob = pack(records, headerTexts, lengths, size);
  const [targetList, lengthList] = [targets.join(), lengths.join()];
  return { topics, partitions, targets: `{${targetList}}`, lengths: `{${lengthList}}`, blob };
}

function pack(
  records: readonly LogRecordInput[],
  headerTexts: readonly string[],
  lengths: readonly number[],
  size: number,
): Buffer {
  const blob = Buffer.allocUnsafe(size);
  let position = 0;
  records.forEach((record, index) => {
    blob.write(record.key, position);
    position += lengths[3 * index]!;
    blob.write(headerTexts[index]!, position);
    position += lengths[3 * index + 1]!;
    blob.set(record.value, position);
    position += lengths[3 * index + 2]!;
  });
  return blob;
}
