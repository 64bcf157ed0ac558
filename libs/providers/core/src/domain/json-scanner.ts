/** Deepest nesting of objects and arrays that is read; the outermost one counts as 1. */
export const MAX_JSON_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const ZERO = 0x30;
const NINE = 0x39;
const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const LOWER_U = 0x75;

/** Byte values of the brackets, for callers that walk containers themselves. */
export const JSON_BYTE = {
  quote: QUOTE,
  openBrace: 0x7b,
  closeBrace: 0x7d,
  openBracket: 0x5b,
  closeBracket: 0x5d,
} as const;

/** Bytes of a string read one by one before whole words are compared; most strings are shorter. */
const SHORT_STRING_BYTES = 64;

/** Names that some JavaScript somewhere downstream could mistake for its own machinery. */
const FORBIDDEN_NAMES: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** Bytes that may follow a backslash and stand for one character. */
const SIMPLE_ESCAPES: readonly number[] = [...Buffer.from('"/\\bfnrt')];

const TRUE = Buffer.from('true');
const FALSE = Buffer.from('false');
const NULL = Buffer.from('null');

/**
 * Checks JSON grammar over bytes and builds nothing: a position goes in, the position behind the
 * construct comes out, -1 means a fault and `fault` names it. Strings are compared four bytes at a
 * time. UTF-8 validity is the caller's (`isUtf8`), one call over the whole body.
 * @source RFC 8259
 */
export class JsonScanner {
  /** The first fault met; null while there is none. */
  fault: string | null = null;
  /** Whether `first` or `next` met the closing bracket. */
  ended = false;
  /** Span of the name read last, between its quotes. */
  nameStart = 0;
  nameEnd = 0;
  /** Whether the name read last contains an escape. */
  nameEscaped = false;
  private escaped = false;
  private words: Int32Array | null = null;

  /**
   * @param refusesNames whether `__proto__`, `constructor` and `prototype` are faults at any depth
   * @param end where the text ends, exclusive
   */
  constructor(
    readonly bytes: Buffer,
    private readonly refusesNames: boolean,
    private readonly end: number = bytes.length,
  ) {}

  /** The byte at a position; -1 behind the end. */
  at(position: number): number {
    return position < this.end ? this.bytes[position]! : -1;
  }

  /** The first position at or after this one that is no white space. */
  skipSpace(position: number): number {
    let here = position;
    while (here < this.end) {
      const byte = this.bytes[here]!;
      if (byte > 0x20 || (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)) break;
      here++;
    }
    return here;
  }

  /** Reads one value that starts exactly here. @param depth the depth a container here would have */
  value(position: number, depth: number): number {
    switch (this.at(position)) {
      case QUOTE:
        return this.string(position);
      case JSON_BYTE.openBrace:
        return this.object(position, depth);
      case JSON_BYTE.openBracket:
        return this.array(position, depth);
      case 0x74:
        return this.literal(position, TRUE);
      case 0x66:
        return this.literal(position, FALSE);
      case 0x6e:
        return this.literal(position, NULL);
      default:
        return this.number(position);
    }
  }

  /** Enters a container; `ended` says whether it is empty. @returns its first element, or its end */
  first(position: number, depth: number, close: number): number {
    if (depth > MAX_JSON_DEPTH) return this.fail(`nested deeper than ${MAX_JSON_DEPTH} levels`);
    const here = this.skipSpace(position + 1);
    this.ended = this.at(here) === close;
    return this.ended ? here + 1 : here;
  }

  /** Goes on behind an element; `ended` says whether the container closed. */
  next(position: number, close: number): number {
    const here = this.skipSpace(position);
    const byte = this.at(here);
    this.ended = byte === close;
    if (this.ended) return here + 1;
    return byte === COMMA ? this.skipSpace(here + 1) : this.fail('expected a comma or a bracket');
  }

  /** Reads a member's name and colon. @returns where its value starts */
  name(position: number): number {
    if (this.at(position) !== QUOTE) return this.fail('expected a member name');
    const after = this.string(position);
    if (after < 0) return -1;
    this.nameStart = position + 1;
    this.nameEnd = after - 1;
    this.nameEscaped = this.escaped;
    if (this.refusesNames && this.isForbidden()) return this.fail('a member name is not allowed');
    const colon = this.skipSpace(after);
    return this.at(colon) === COLON ? this.skipSpace(colon + 1) : this.fail('expected a colon');
  }

  /** The name read last, unescaped. */
  nameText(): string {
    return this.text(this.nameStart, this.nameEnd, this.nameEscaped);
  }

  /** Whether the name read last, unescaped, is this one (ASCII). */
  nameIs(name: string): boolean {
    if (this.nameEscaped) return this.nameText() === name;
    return this.nameEnd - this.nameStart === name.length && this.matches(this.nameStart, name);
  }

  /** The value of a string that `string` accepted. @param start its opening quote */
  stringText(start: number, end: number): string {
    let here = start + 1;
    while (here < end && this.bytes[here] !== BACKSLASH) here++;
    return this.text(start + 1, end - 1, here < end);
  }

  /** Reads a string. @param position its opening quote */
  string(position: number): number {
    const { bytes, end } = this;
    let here = position + 1;
    let limit = Math.min(end, here + SHORT_STRING_BYTES);
    this.escaped = false;
    for (;;) {
      while (here < limit) {
        const byte = bytes[here]!;
        if (byte === QUOTE) return here + 1;
        if (byte === BACKSLASH) {
          here = this.escape(here);
          if (here < 0) return -1;
          this.escaped = true;
        } else if (byte < 0x20) {
          return this.fail('a control character inside a string');
        } else {
          here++;
        }
      }
      if (here >= end) return this.fail('a string without its end');
      here = this.plainUntil(here);
      limit = Math.min(end, here + 4);
    }
  }

  /**
   * The next byte that may be a quote, a backslash or a control character, found a word at a time; may
   * name a harmless byte, never skips one that matters.
   */
  private plainUntil(position: number): number {
    const base = this.bytes.byteOffset;
    const words = (this.words ??= new Int32Array(
      this.bytes.buffer,
      0,
      this.bytes.buffer.byteLength >> 2,
    ));
    const lastWord = (base + this.end) >> 2;
    const from = base + position;
    let index = from >> 2;
    if (index >= lastWord) return position;
    let hit = marks(words[index]!) & (-1 << ((from & 3) << 3));
    while (hit === 0 && ++index < lastWord) hit = marks(words[index]!);
    const byte = hit === 0 ? 0 : (31 - Math.clz32(hit & -hit)) >> 3;
    return Math.max(position, (index << 2) + byte - base);
  }

  private escape(position: number): number {
    const byte = this.at(position + 1);
    if (byte !== LOWER_U) {
      return SIMPLE_ESCAPES.includes(byte) ? position + 2 : this.fail('an unknown escape');
    }
    for (let digit = position + 2; digit < position + 6; digit++) {
      if (!isHex(this.at(digit))) return this.fail('an escape without four hex digits');
    }
    return position + 6;
  }

  private object(position: number, depth: number): number {
    let here = this.first(position, depth, JSON_BYTE.closeBrace);
    while (here >= 0 && !this.ended) {
      here = this.name(here);
      if (here >= 0) here = this.value(here, depth + 1);
      if (here >= 0) here = this.next(here, JSON_BYTE.closeBrace);
    }
    return here;
  }

  private array(position: number, depth: number): number {
    let here = this.first(position, depth, JSON_BYTE.closeBracket);
    while (here >= 0 && !this.ended) {
      here = this.value(here, depth + 1);
      if (here >= 0) here = this.next(here, JSON_BYTE.closeBracket);
    }
    return here;
  }

  private literal(position: number, word: Buffer): number {
    for (let index = 1; index < word.length; index++) {
      if (this.at(position + index) !== word[index]) return this.fail('an unknown word');
    }
    return position + word.length;
  }

  private number(position: number): number {
    let here = this.at(position) === MINUS ? position + 1 : position;
    if (this.at(here) === ZERO) here++;
    else {
      const whole = this.digits(here);
      if (whole === here) return this.fail('expected a value');
      here = whole;
    }
    if (this.at(here) === DOT) {
      const fraction = this.digits(here + 1);
      if (fraction === here + 1) return this.fail('a number without its fraction');
      here = fraction;
    }
    if ((this.at(here) | 0x20) !== 0x65) return here;
    const sign = this.at(here + 1);
    const from = sign === PLUS || sign === MINUS ? here + 2 : here + 1;
    const exponent = this.digits(from);
    return exponent === from ? this.fail('a number without its exponent') : exponent;
  }

  private digits(position: number): number {
    let here = position;
    while (here < this.end && this.bytes[here]! >= ZERO && this.bytes[here]! <= NINE) here++;
    return here;
  }

  private isForbidden(): boolean {
    if (this.nameEscaped) return FORBIDDEN_NAMES.has(this.nameText());
    const length = this.nameEnd - this.nameStart;
    if (length === 11) return this.matches(this.nameStart, 'constructor');
    if (length !== 9) return false;
    return this.matches(this.nameStart, '__proto__') || this.matches(this.nameStart, 'prototype');
  }

  private matches(position: number, text: string): boolean {
    for (let index = 0; index < text.length; index++) {
      if (this.bytes[position + index] !== text.charCodeAt(index)) return false;
    }
    return true;
  }

  private text(start: number, end: number, escaped: boolean): string {
    if (!escaped) return this.bytes.toString('utf8', start, end);
    return JSON.parse(this.bytes.toString('utf8', start - 1, end + 1)) as string;
  }

  private fail(message: string): -1 {
    this.fault ??= message;
    return -1;
  }
}

/**
 * The high bit of every byte of a word that is a quote, a backslash or below 0x20. Above a true mark
 * there may be a false one: the subtraction borrows.
 */
function marks(word: number): number {
  // Swapping bit 1 maps the quote to 0x20, so that one comparison finds it and all below it.
  const low = word ^ 0x02020202;
  const slash = word ^ 0x5c5c5c5c;
  return (((low - 0x21212121) & ~low) | ((slash - 0x01010101) & ~slash)) & 0x80808080;
}

function isHex(byte: number): boolean {
  const lower = byte | 0x20;
  return (byte >= ZERO && byte <= NINE) || (lower >= 0x61 && lower <= 0x66);
}
