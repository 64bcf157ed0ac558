import { JSON_BYTE, JsonScanner } from './json-scanner.js';

/** What admission and settlement look for in an answer or in one event of a stream. */
export interface ChatAnswer {
  /** The usage object, verbatim JSON text; null when absent or null. */
  readonly usageText: string | null;
  readonly model: string | null;
  readonly serviceTier: string | null;
  /** Elements of `choices`; null when there is no such array. */
  readonly choices: number | null;
  /** Of the first choice that has one. */
  readonly finishReason: string | null;
  /** Characters (UTF-16 code units) of text in the choices, role words and ids apart. */
  readonly textChars: number;
}

/** Members of a message or delta that are no generated text. */
const NO_TEXT = ['role', 'type', 'id', 'logprobs'] as const;

/** Which part of the bytes is read, and how closely. */
export interface AnswerRange {
  /** @default 0 */
  readonly start?: number;
  /** Exclusive. @default the end of the bytes */
  readonly end?: number;
  /** Whether `textChars` is counted; without it the text is only skipped. @default false */
  readonly countsText?: boolean;
}

/**
 * Walks the top level of an answer without building a tree.
 * @returns null when the bytes of the range are not one JSON object
 * @source OpenAI API reference, the chat completion object and the chat completion chunk object
 */
export function readChatAnswer(bytes: Buffer, range: AnswerRange = {}): ChatAnswer | null {
  const { start = 0, end = bytes.length, countsText = false } = range;
  const reading = new AnswerReading(bytes, end, countsText);
  return reading.read(start) ? reading : null;
}

class AnswerReading implements ChatAnswer {
  usageText: string | null = null;
  model: string | null = null;
  serviceTier: string | null = null;
  choices: number | null = null;
  finishReason: string | null = null;
  textChars = 0;
  private readonly json: JsonScanner;

  constructor(
    private readonly bytes: Buffer,
    private readonly end: number,
    private readonly countsText: boolean,
  ) {
    this.json = new JsonScanner(bytes, false, end);
  }

  read(from: number): boolean {
    const { json } = this;
    const start = json.skipSpace(from);
    if (json.at(start) !== JSON_BYTE.openBrace) return false;
    let here = json.first(start, 1, JSON_BYTE.closeBrace);
    while (here >= 0 && !json.ended) {
      here = json.name(here);
      if (here >= 0) here = this.member(here);
      if (here >= 0) here = json.next(here, JSON_BYTE.closeBrace);
    }
    return here >= 0 && json.skipSpace(here) === this.end;
  }

  private member(at: number): number {
    const { json } = this;
    if (json.nameIs('choices') && json.at(at) === JSON_BYTE.openBracket) return this.elements(at);
    const isUsage = json.nameIs('usage');
    const isModel = json.nameIs('model');
    const isTier = json.nameIs('service_tier');
    const end = json.value(at, 2);
    if (end < 0) return -1;
    if (isUsage && json.at(at) === JSON_BYTE.openBrace) {
      this.usageText = this.bytes.toString('utf8', at, end);
    } else if (json.at(at) === JSON_BYTE.quote) {
      if (isModel) this.model = json.stringText(at, end);
      if (isTier) this.serviceTier = json.stringText(at, end);
    }
    return end;
  }

  private elements(at: number): number {
    const { json } = this;
    this.choices = 0;
    let here = json.first(at, 2, JSON_BYTE.closeBracket);
    while (here >= 0 && !json.ended) {
      this.choices++;
      here = this.text(here, 3);
      if (here >= 0) here = json.next(here, JSON_BYTE.closeBracket);
    }
    return here;
  }

  /** Reads a value and counts the text inside it. */
  private text(at: number, depth: number): number {
    const { json } = this;
    const byte = json.at(at);
    if (byte === JSON_BYTE.quote) {
      const end = json.string(at);
      if (end >= 0 && this.countsText) this.textChars += charsOf(json, at, end);
      return end;
    }
    if (byte !== JSON_BYTE.openBrace && byte !== JSON_BYTE.openBracket)
      return json.value(at, depth);
    const isObject = byte === JSON_BYTE.openBrace;
    const close = isObject ? JSON_BYTE.closeBrace : JSON_BYTE.closeBracket;
    let here = json.first(at, depth, close);
    while (here >= 0 && !json.ended) {
      if (isObject) here = json.name(here);
      if (here >= 0)
        here = isObject ? this.textMember(here, depth + 1) : this.text(here, depth + 1);
      if (here >= 0) here = json.next(here, close);
    }
    return here;
  }

  private textMember(at: number, depth: number): number {
    const { json } = this;
    if (json.nameIs('finish_reason')) {
      const end = json.value(at, depth);
      if (end >= 0 && json.at(at) === JSON_BYTE.quote) {
        this.finishReason ??= json.stringText(at, end);
      }
      return end;
    }
    const isText = this.countsText && !NO_TEXT.some((name) => json.nameIs(name));
    return isText ? this.text(at, depth) : json.value(at, depth);
  }
}

/** UTF-16 code units of a string that `string` accepted. */
function charsOf(json: JsonScanner, start: number, end: number): number {
  for (let index = start + 1; index < end - 1; index++) {
    const byte = json.bytes[index]!;
    if (byte === 0x5c || byte >= 0x80) return json.stringText(start, end).length;
  }
  return end - start - 2;
}
