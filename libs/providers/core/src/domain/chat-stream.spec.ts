// Guarantee: what a client gets and what is counted does not depend on where the network cuts.
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { readChatAnswer } from './chat-answer.js';
import { ChatStreamReader, MAX_EVENT_BYTES } from './chat-stream.js';

const USAGE = '{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}';
const delta = (text: string, finish = 'null'): string =>
  `data: {"id":"c","model":"served","choices":[{"index":0,"delta":{"content":${JSON.stringify(text)}},"finish_reason":${finish}}],"usage":null}`;
const USAGE_CHUNK = `data: {"id":"c","model":"served","service_tier":"flex","choices":[],"usage":${USAGE}}`;
const EVENTS = [
  ': a comment',
  'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}',
  delta('Grüße "usage":{'),
  delta('\u00e9\n[DONE]', '"stop"'),
  USAGE_CHUNK,
  'data: [DONE]',
];

function readAll(chunks: readonly Buffer[], showsUsage: boolean) {
  const reader = new ChatStreamReader(showsUsage);
  const passed = chunks.map((chunk) => reader.push(chunk) ?? Buffer.alloc(0));
  reader.finish();
  return {
    passed: Buffer.concat(passed).toString(),
    tail: reader.tail().toString(),
    usage: reader.usageText,
    tokens: reader.estimatedTokens(),
    model: reader.model,
    tier: reader.serviceTier,
    finish: reader.finishReason,
    isDone: reader.isDone,
  };
}

describe.each([['\n'], ['\r\n']])('a stream with line ends %j', (eol) => {
  const text = EVENTS.map((event) => `${event}${eol}${eol}`).join('');
  const whole = Buffer.from(text);

  test('passes byte for byte, its end withheld, the usage chunk hidden when not asked for', () => {
    const hidden = readAll([whole], false);
    expect(hidden.passed + hidden.tail).toBe(text.replace(`${USAGE_CHUNK}${eol}${eol}`, ''));
    expect(hidden.tail).toBe(`data: [DONE]${eol}${eol}`);
    expect(hidden).toMatchObject({
      usage: USAGE,
      model: 'served',
      tier: 'flex',
      finish: 'stop',
      isDone: true,
    });
    expect(hidden.tokens).toBe(Math.ceil(('Grüße "usage":{'.length + '\u00e9\n[DONE]'.length) / 4));
    const shown = readAll([whole], true);
    expect(shown.passed + shown.tail).toBe(text);
    expect(shown.tail.startsWith(USAGE_CHUNK)).toBe(true);
  });

  test('gives the same wherever it is cut in two, and in single bytes', () => {
    for (const showsUsage of [false, true]) {
      const uncut = readAll([whole], showsUsage);
      for (let at = 0; at <= whole.length; at++) {
        expect(readAll([whole.subarray(0, at), whole.subarray(at)], showsUsage)).toEqual(uncut);
      }
      expect(
        readAll(
          [...whole].map((byte) => Buffer.from([byte])),
          showsUsage,
        ),
      ).toEqual(uncut);
    }
  });
});

test('any events in any cuts give the same as uncut', () => {
  const event = fc.oneof(
    fc.string({ unit: 'binary' }).map((text) => `${delta(text)}\n\n`),
    fc.constantFrom(
      `${USAGE_CHUNK}\r\n\r\n`,
      'data: [DONE]\n\n',
      ': ping\n\n',
      '\n\n',
      'event: x\ndata: {"a":\ndata: 1}\n\n',
      'data: broken{\n\n',
    ),
  );
  fc.assert(
    fc.property(fc.array(event), fc.array(fc.nat()), fc.boolean(), (events, cuts, shows) => {
      const whole = Buffer.from(events.join(''));
      const places = [...new Set(cuts.map((cut) => cut % (whole.length + 1)))].sort(
        (a, b) => a - b,
      );
      const chunks = [0, ...places].map((from, index) =>
        whole.subarray(from, places[index] ?? whole.length),
      );
      expect(readAll(chunks, shows)).toEqual(readAll([whole], shows));
    }),
  );
});

test('an event without its end is bounded', () => {
  const reader = new ChatStreamReader(false);
  reader.push(Buffer.alloc(MAX_EVENT_BYTES, 'x'));
  expect(reader.fault).toBeNull();
  reader.push(Buffer.from('xx'));
  expect(reader.fault).toBe('event_too_large');
});

test('running totals on content chunks are read without holding the text back', () => {
  const reader = new ChatStreamReader(false);
  const chunk = (tokens: number): string =>
    `data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":${tokens}}}\n\n`;
  expect(reader.push(Buffer.from(chunk(1) + chunk(2)))?.toString()).toBe(chunk(1) + chunk(2));
  expect(reader.usageDecreased).toBe(false);
  reader.push(Buffer.from(chunk(1)));
  expect(reader.usageDecreased).toBe(true);
});

test('a last event without a blank line still counts', () => {
  const all = readAll([Buffer.from(`${delta('hi')}\n\ndata: [DONE]`)], false);
  expect(all).toMatchObject({ isDone: true, tail: 'data: [DONE]' });
});

describe('a plain answer', () => {
  const answer = Buffer.from(
    `{"id":"c","model":"served","choices":[{"message":{"role":"assistant","content":"héllo","tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{\\"usage\\":1}"}}]},"finish_reason":"stop"}],"usage":${USAGE},"x":{"usage":{"prompt_tokens":1}}}`,
  );

  test('gives the top-level usage verbatim and nothing that only looks like it', () => {
    expect(readChatAnswer(answer)).toMatchObject({
      usageText: USAGE,
      model: 'served',
      serviceTier: null,
      choices: 1,
      finishReason: 'stop',
    });
  });

  test('gives the characters of its text when asked', () => {
    const read = readChatAnswer(answer, { countsText: true });
    expect(read?.textChars).toBe('héllo'.length + 'f'.length + '{"usage":1}'.length);
  });

  test.each([['null'], ['[]'], ['{"usage":1'], ['{}x'], ['']])('%s is no answer', (text) => {
    expect(readChatAnswer(Buffer.from(text))?.usageText ?? null).toBeNull();
  });
});
