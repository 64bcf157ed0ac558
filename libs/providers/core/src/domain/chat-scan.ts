import { isUtf8 } from 'node:buffer';

import { ok, refused, type Result } from '#libs/kernel';

import { JSON_BYTE, JsonScanner } from './json-scanner.js';

/** Most messages of one request. */
export const MAX_MESSAGES = 2_000;
/** Most answers a request may ask for at once (`n`). @source OpenAI API reference, chat completions */
export const MAX_CHOICES = 128;
/** Longest model name, characters. */
const MAX_MODEL_CHARS = 256;
/** Names at the top level that are compared one by one; more go into a set. */
const FEW_NAMES = 24;

/** Names that steer routing or credentials; a request never chooses those. */
const REFUSED_NAMES: ReadonlySet<string> = new Set([
  'api_base',
  'base_url',
  'api_key',
  'headers',
  'extra_headers',
]);

/** What is wrong with a request; the sentence is for callers. */
export interface ChatFault {
  readonly message: string;
  /** The faulty member; null when the body as a whole is. */
  readonly param: string | null;
}

/** A byte range of the body, end exclusive. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** What one pass over a chat completions body found. Spans are of values, verbatim. */
export interface ChatScan {
  readonly body: Buffer;
  /** The object itself, without white space around it. */
  readonly object: Span;
  readonly model: string;
  readonly modelSpan: Span;
  readonly stream: boolean;
  /** Whether the client asked for the usage chunk. */
  readonly includeUsage: boolean;
  /** The member as given, `null` included; null when absent. */
  readonly streamOptionsSpan: Span | null;
  /** The value of `stream_options.include_usage`; null when absent. */
  readonly includeUsageSpan: Span | null;
  /** Tokens, >= 1; null when not limited by this member. */
  readonly maxTokens: number | null;
  readonly maxTokensSpan: Span | null;
  readonly maxCompletionTokens: number | null;
  readonly maxCompletionTokensSpan: Span | null;
  /** `n`, 1 to 128. */
  readonly choices: number;
  readonly serviceTier: string | null;
  readonly messages: number;
  /** Whether a message has a part whose tokens its bytes do not bound: images, audio, files. */
  readonly hasNonText: boolean;
  /** Whether a built-in tool with a fee per call is on: its cost has no bound. */
  readonly hasCallFees: boolean;
}

type Mutable<T> = { -readonly [Member in keyof T]: T[Member] };

/**
 * Reads a chat completions body in one strict pass, building no tree: UTF-8, JSON grammar, depth at
 * most 64, no name that could reach a prototype, no name twice at the top level or in
 * `stream_options`, at most 2,000 messages. Unknown members are validated and kept.
 * @returns the figures admission needs, or the first fault
 * @source OpenAI API reference, create chat completion
 */
export function scanChatRequest(body: Buffer): Result<ChatScan, ChatFault> {
  if (!isUtf8(body)) return refused({ message: 'the body is not valid UTF-8', param: null });
  const reading = new ChatReading(body);
  const fault = reading.read();
  return fault === null ? ok(reading.scan) : refused(fault);
}

/** One pass over one body; the first fault ends it. */
class ChatReading {
  readonly scan: Mutable<ChatScan>;
  private readonly json: JsonScanner;
  private fault: ChatFault | null = null;

  constructor(body: Buffer) {
    this.json = new JsonScanner(body, true);
    this.scan = {
      body,
      object: { start: 0, end: 0 },
      model: '',
      modelSpan: { start: 0, end: 0 },
      stream: false,
      includeUsage: false,
      streamOptionsSpan: null,
      includeUsageSpan: null,
      maxTokens: null,
      maxTokensSpan: null,
      maxCompletionTokens: null,
      maxCompletionTokensSpan: null,
      choices: 1,
      serviceTier: null,
      messages: -1,
      hasNonText: false,
      hasCallFees: false,
    };
  }

  read(): ChatFault | null {
    const start = this.json.skipSpace(0);
    if (this.json.at(start) !== JSON_BYTE.openBrace) {
      return { message: 'the body is not a JSON object', param: null };
    }
    const end = this.members(start, 1, (name, at) => this.topMember(name, at));
    if (end >= 0 && this.json.skipSpace(end) !== this.scan.body.length) {
      return { message: 'the body has text behind its JSON object', param: null };
    }
    this.scan.object = { start, end };
    if (this.fault !== null) return this.fault;
    if (end < 0) return { message: `the body is not valid JSON: ${this.json.fault}`, param: null };
    if (this.scan.model === '') return missing('model');
    return this.scan.messages < 0 ? missing('messages') : null;
  }

  /** Walks an object whose names may not repeat. @param member reads a value, returns its end */
  private members(
    position: number,
    depth: number,
    member: (name: string, at: number) => number,
  ): number {
    const { json } = this;
    const names: string[] = [];
    let many: Set<string> | null = null;
    let here = json.first(position, depth, JSON_BYTE.closeBrace);
    while (here >= 0 && !json.ended) {
      here = json.name(here);
      if (here < 0) return -1;
      const name = json.nameText();
      if (many === null ? names.includes(name) : many.has(name)) {
        return this.fail('a member is given twice', name);
      }
      if (many !== null) many.add(name);
      else if (names.push(name) > FEW_NAMES) many = new Set(names);
      here = member(name, here);
      if (here >= 0) here = json.next(here, JSON_BYTE.closeBrace);
    }
    return here;
  }

  private topMember(name: string, at: number): number {
    if (name === 'messages') return this.messages(at);
    if (name === 'stream_options') return this.streamOptions(at);
    const end = this.json.value(at, 2);
    if (end < 0) return -1;
    if (REFUSED_NAMES.has(name)) return this.fail('this member is not accepted', name);
    return this.takeMember(name, at, end) ? end : -1;
  }

  /** Notes a member that admission acts on; false when its value is not acceptable. */
  private takeMember(name: string, start: number, end: number): boolean {
    const { scan } = this;
    switch (name) {
      case 'model':
        scan.model = this.textOf(start, end) ?? '';
        scan.modelSpan = { start, end };
        if (scan.model !== '' && scan.model.length <= MAX_MODEL_CHARS) return true;
        return this.refuse(`a text of 1 to ${MAX_MODEL_CHARS} characters`, name);
      case 'stream':
        scan.stream = this.json.at(start) === 0x74;
        return this.isBooleanOrNull(start) || this.refuse('true or false', name);
      case 'max_tokens':
        scan.maxTokensSpan = { start, end };
        return this.takeCount(name, start, end, (count) => (scan.maxTokens = count));
      case 'max_completion_tokens':
        scan.maxCompletionTokensSpan = { start, end };
        return this.takeCount(name, start, end, (count) => (scan.maxCompletionTokens = count));
      case 'n':
        if (!this.takeCount(name, start, end, (count) => (scan.choices = count))) return false;
        return scan.choices <= MAX_CHOICES || this.refuse(`at most ${MAX_CHOICES}`, name);
      case 'service_tier':
        scan.serviceTier = this.textOf(start, end);
        return scan.serviceTier !== null || this.isNull(start) || this.refuse('a text', name);
      case 'web_search_options':
        scan.hasCallFees = !this.isNull(start);
        return true;
      default:
        return true;
    }
  }

  private streamOptions(at: number): number {
    const { json, scan } = this;
    if (json.at(at) !== JSON_BYTE.openBrace) {
      const end = json.value(at, 2);
      if (end >= 0 && !this.isNull(at)) return this.fail('an object is expected', 'stream_options');
      scan.streamOptionsSpan = { start: at, end };
      return end;
    }
    const end = this.members(at, 2, (name, start) => {
      const after = json.value(start, 3);
      if (after < 0 || name !== 'include_usage') return after;
      if (!this.isBooleanOrNull(start)) {
        return this.fail('true or false is expected', 'stream_options.include_usage');
      }
      scan.includeUsage = json.at(start) === 0x74;
      scan.includeUsageSpan = { start, end: after };
      return after;
    });
    scan.streamOptionsSpan = { start: at, end };
    return end;
  }

  private messages(at: number): number {
    const { json, scan } = this;
    if (json.at(at) !== JSON_BYTE.openBracket) return this.fail('an array is expected', 'messages');
    scan.messages = 0;
    let here = json.first(at, 2, JSON_BYTE.closeBracket);
    while (here >= 0 && !json.ended) {
      if (++scan.messages > MAX_MESSAGES) {
        return this.fail(`at most ${MAX_MESSAGES} messages are accepted`, 'messages');
      }
      here = this.message(here);
      if (here >= 0) here = json.next(here, JSON_BYTE.closeBracket);
    }
    return here;
  }

  private message(at: number): number {
    const { json } = this;
    if (json.at(at) !== JSON_BYTE.openBrace) {
      return this.fail('every message is an object', 'messages');
    }
    let here = json.first(at, 3, JSON_BYTE.closeBrace);
    while (here >= 0 && !json.ended) {
      here = json.name(here);
      if (here >= 0) here = this.messageMember(here);
      if (here >= 0) here = json.next(here, JSON_BYTE.closeBrace);
    }
    return here;
  }

  private messageMember(at: number): number {
    const { json } = this;
    if (json.nameIs('content')) {
      const byte = json.at(at);
      if (byte === JSON_BYTE.openBracket) return this.parts(at);
      if (byte !== JSON_BYTE.quote && !this.isNull(at)) this.scan.hasNonText = true;
    } else if (json.nameIs('audio') && !this.isNull(at)) {
      // A reference to an earlier spoken answer: its tokens are nowhere in these bytes.
      this.scan.hasNonText = true;
    }
    return json.value(at, 4);
  }

  private parts(at: number): number {
    const { json, scan } = this;
    let here = json.first(at, 4, JSON_BYTE.closeBracket);
    while (here >= 0 && !json.ended) {
      if (json.at(here) === JSON_BYTE.openBrace) here = this.part(here);
      else {
        scan.hasNonText = true;
        here = json.value(here, 5);
      }
      if (here >= 0) here = json.next(here, JSON_BYTE.closeBracket);
    }
    return here;
  }

  private part(at: number): number {
    const { json } = this;
    let isText = false;
    let isOther = false;
    let here = json.first(at, 5, JSON_BYTE.closeBrace);
    while (here >= 0 && !json.ended) {
      const value = json.name(here);
      if (value < 0) return -1;
      const isType = json.nameIs('type');
      here = json.value(value, 6);
      if (here >= 0 && isType) {
        const type = this.textOf(value, here);
        if (type === 'text' || type === 'refusal') isText = true;
        else isOther = true;
      }
      if (here >= 0) here = json.next(here, JSON_BYTE.closeBrace);
    }
    if (!isText || isOther) this.scan.hasNonText = true;
    return here;
  }

  private takeCount(
    name: string,
    start: number,
    end: number,
    take: (count: number) => void,
  ): boolean {
    if (this.isNull(start)) return true;
    const byte = this.json.at(start);
    const count = byte >= 0x30 && byte <= 0x39 ? Number(this.slice(start, end)) : -1;
    if (!Number.isSafeInteger(count) || count < 1) return this.refuse('a whole number >= 1', name);
    take(count);
    return true;
  }

  private textOf(start: number, end: number): string | null {
    return this.json.at(start) === JSON_BYTE.quote ? this.json.stringText(start, end) : null;
  }

  private slice(start: number, end: number): string {
    return this.scan.body.toString('latin1', start, end);
  }

  private isNull(start: number): boolean {
    return this.json.at(start) === 0x6e;
  }

  private isBooleanOrNull(start: number): boolean {
    const byte = this.json.at(start);
    return byte === 0x74 || byte === 0x66 || byte === 0x6e;
  }

  private refuse(expected: string, param: string): false {
    this.fail(`${param} must be ${expected}`, param);
    return false;
  }

  private fail(message: string, param: string): -1 {
    this.fault ??= { message, param };
    return -1;
  }
}

function missing(param: string): ChatFault {
  return { message: `${param} is required`, param };
}
