import { readChatAnswer } from './chat-answer.js';

/** Largest event of a stream, and largest end that is withheld, bytes. */
export const MAX_EVENT_BYTES = 1_048_576;

const LF = 0x0a;
const CR = 0x0d;
const DATA = Buffer.from('data:');
const DONE = '[DONE]';

/** Why a stream cannot be read on. */
export type StreamFault = 'event_too_large';

/** What becomes of one event on its way to the client. */
type Fate = 'pass' | 'withhold' | 'hide';

/**
 * Reads a chat completions stream on its way through. Whole events are handed on as they come, byte
 * for byte; its end (the usage chunk and `[DONE]`) is withheld until the caller takes `tail`, and the
 * usage chunk is hidden from a client that did not ask for it. The result does not depend on where
 * the chunks were cut.
 * @source WHATWG HTML, server-sent events, section 9.2.6; OpenAI API reference, streaming
 */
export class ChatStreamReader {
  /** The last usage object seen, verbatim JSON text; null = none yet. */
  usageText: string | null = null;
  /** Whether a later usage object counted less than an earlier one. */
  usageDecreased = false;
  model: string | null = null;
  serviceTier: string | null = null;
  finishReason: string | null = null;
  /** Whether `[DONE]` came. */
  isDone = false;
  /** Set when the stream broke a bound; nothing more may be pushed. */
  fault: StreamFault | null = null;
  private deltas = 0;
  private textChars = 0;
  private ending = false;
  private pending: Buffer | null = null;
  /** Where the search for the end of the pending event goes on. */
  private searched = 0;
  private withheld: Buffer[] = [];
  private withheldBytes = 0;
  private usageTokens = -1;

  /** @param showsUsage whether the client asked for the usage chunk */
  constructor(private readonly showsUsage: boolean) {}

  /** Takes the next bytes. @returns what the client gets now; null = nothing yet */
  push(chunk: Buffer): Buffer | null {
    const data = this.pending === null ? chunk : Buffer.concat([this.pending, chunk]);
    let forwarded: Buffer[] | null = null;
    let from = 0;
    let start = 0;
    let end = eventEnd(data, this.searched);
    while (end >= 0) {
      const fate = this.event(data, start, end);
      if (fate !== 'pass') {
        if (start > from) (forwarded ??= []).push(data.subarray(from, start));
        if (fate === 'withhold') this.withhold(data.subarray(start, end));
        from = end;
      }
      start = end;
      end = eventEnd(data, start);
    }
    this.keep(data, start);
    const passed = start > from ? data.subarray(from, start) : null;
    if (forwarded === null) return passed;
    if (passed !== null) forwarded.push(passed);
    return Buffer.concat(forwarded);
  }

  /** The stream has ended: bytes behind the last blank line count as its last event. */
  finish(): void {
    if (this.pending === null) return;
    const rest = this.pending;
    this.pending = null;
    if (this.event(rest, 0, rest.length) !== 'hide') this.withhold(rest);
  }

  /** The withheld end, in order; empty when the stream had none. */
  tail(): Buffer {
    return Buffer.concat(this.withheld);
  }

  /** Output tokens delivered so far, estimated: characters / 4, at least one per event with text. */
  estimatedTokens(): number {
    return Math.max(this.deltas, Math.ceil(this.textChars / 4));
  }

  private keep(data: Buffer, start: number): void {
    if (start === data.length) {
      this.pending = null;
      this.searched = 0;
      return;
    }
    this.pending = start === 0 ? data : data.subarray(start);
    // The blank line may have been cut in the middle: its first line feed is looked at again.
    this.searched = Math.max(0, this.pending.length - 3);
    if (this.pending.length > MAX_EVENT_BYTES) this.fault = 'event_too_large';
  }

  private withhold(bytes: Buffer): void {
    this.withheldBytes += bytes.length;
    if (this.withheldBytes > MAX_EVENT_BYTES) this.fault = 'event_too_large';
    this.withheld.push(bytes);
  }

  private event(data: Buffer, start: number, end: number): Fate {
    const payloadStart = singleDataLine(data, start, end);
    if (payloadStart >= 0) return this.payload(data, payloadStart, trimmedEnd(data, end));
    const payload = joinedData(data.toString('utf8', start, end));
    if (payload === '') return this.ending ? 'withhold' : 'pass';
    const bytes = Buffer.from(payload);
    return this.payload(bytes, 0, bytes.length);
  }

  private payload(data: Buffer, start: number, end: number): Fate {
    if (end - start === DONE.length && data.toString('latin1', start, end) === DONE) {
      this.isDone = true;
      this.ending = true;
      return 'withhold';
    }
    const answer = readChatAnswer(data, { start, end, countsText: true });
    if (answer === null) {
      // Not ours to judge, but it may be text: counted as such, so that an estimate is not too low.
      this.deltas++;
      this.textChars += end - start;
      return this.ending ? 'withhold' : 'pass';
    }
    this.model ??= answer.model;
    this.serviceTier = answer.serviceTier ?? this.serviceTier;
    this.finishReason = answer.finishReason ?? this.finishReason;
    if (answer.textChars > 0) {
      this.deltas++;
      this.textChars += answer.textChars;
    }
    if (answer.usageText !== null) {
      this.takeUsage(answer.usageText);
      if (answer.choices === 0) {
        this.ending = true;
        return this.showsUsage ? 'withhold' : 'hide';
      }
    }
    return this.ending ? 'withhold' : 'pass';
  }

  private takeUsage(text: string): void {
    const usage = JSON.parse(text) as { completion_tokens?: unknown };
    const tokens = usage.completion_tokens;
    if (typeof tokens === 'number') {
      if (tokens < this.usageTokens) this.usageDecreased = true;
      this.usageTokens = tokens;
    }
    this.usageText = text;
  }
}

/** Behind the blank line that ends the event; -1 when it has not come yet. */
function eventEnd(data: Buffer, from: number): number {
  let at = data.indexOf(LF, from);
  while (at >= 0) {
    const next = data[at + 1];
    if (next === LF) return at + 2;
    if (next === CR && data[at + 2] === LF) return at + 3;
    at = data.indexOf(LF, at + 1);
  }
  return -1;
}

/** Where the payload of an event of exactly one `data` line starts; -1 for any other event. */
function singleDataLine(data: Buffer, start: number, end: number): number {
  for (let index = 0; index < DATA.length; index++) {
    if (data[start + index] !== DATA[index]) return -1;
  }
  const lineEnd = data.indexOf(LF, start);
  if (lineEnd >= 0 && lineEnd < trimmedEnd(data, end)) return -1;
  const after = start + DATA.length;
  return data[after] === 0x20 ? after + 1 : after;
}

/** The end of the event without its line ends. */
function trimmedEnd(data: Buffer, end: number): number {
  let here = end;
  while (here > 0 && (data[here - 1] === LF || data[here - 1] === CR)) here--;
  return here;
}

/** The `data` lines of an event, joined as a reader of server-sent events joins them. */
function joinedData(event: string): string {
  const lines: string[] = [];
  for (const line of event.split(/\r\n|\n|\r/)) {
    if (line.startsWith('data:')) lines.push(line.slice(line[5] === ' ' ? 6 : 5));
  }
  return lines.join('\n');
}
