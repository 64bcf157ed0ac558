// Method: the scanner is compared with JSON.parse on generated documents and on mutations of them.
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { scanChatRequest, type ChatScan } from './chat-scan.js';
import { rewriteChatRequest } from './chat-rewrite.js';
import { JsonScanner } from './json-scanner.js';

const MINIMAL = '{"model":"m","messages":[]}';

function scan(text: string): ChatScan {
  const result = scanChatRequest(Buffer.from(text));
  if (!result.ok) throw new Error(`${result.error.message} (${result.error.param})`);
  return result.value;
}

function faultOf(body: string | Buffer): { message: string; param: string | null } {
  const result = scanChatRequest(Buffer.from(body as string));
  if (result.ok) throw new Error('no fault was found');
  return result.error;
}

function scannerAccepts(bytes: Buffer): boolean {
  const json = new JsonScanner(bytes, false);
  const end = json.value(json.skipSpace(0), 1);
  return end >= 0 && json.skipSpace(end) === bytes.length;
}

function parserAccepts(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString('utf8'));
    return true;
  } catch {
    return false;
  }
}

describe('the grammar', () => {
  const spaced = fc.constantFrom(undefined, 1, '\t', '\n ');
  test('accepts every document that JSON.parse accepts', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), spaced, (text, indent) => {
        const bytes = Buffer.from(JSON.stringify(JSON.parse(text), null, indent));
        expect(scannerAccepts(bytes)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test('accepts a damaged document exactly when JSON.parse does', () => {
    const damage = fc.record({
      at: fc.nat(),
      byte: fc.constantFrom(...Buffer.from('"\\{}[]:,0-+.eEtfnul \n\u0001u/x')),
      kind: fc.constantFrom('replace', 'insert', 'delete'),
    });
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), fc.array(damage, { maxLength: 3 }), (text, hits) => {
        let bytes = Buffer.from(text);
        for (const { at, byte, kind } of hits) {
          const where = at % (bytes.length + 1);
          const tail = bytes.subarray(kind === 'insert' ? where : where + 1);
          const middle = kind === 'delete' ? [] : [byte];
          bytes = Buffer.concat([bytes.subarray(0, where), Buffer.from(middle), tail]);
        }
        fc.pre(Buffer.from(bytes.toString('utf8')).equals(bytes));
        expect(scannerAccepts(bytes)).toBe(parserAccepts(bytes));
      }),
      { numRuns: 5_000 },
    );
  });

  test('finds quotes, escapes and control characters at any place of a long string', () => {
    for (let length = 60; length < 90; length++) {
      for (const [mark, valid] of [
        ['\\"', true],
        ['\\u00e9', true],
        ['\u00e9', true],
        ['\u0001', false],
        ['\\q', false],
        ['"', false],
      ] as const) {
        for (let shift = 0; shift < 4; shift++) {
          const text = `${' '.repeat(shift)}"${'x'.repeat(length)}${mark}${'y'.repeat(20)}"`;
          expect(scannerAccepts(Buffer.from(text))).toBe(valid);
        }
      }
    }
  });

  test('reads 64 levels and refuses 65', () => {
    const nested = (levels: number): string =>
      `{"model":"m","messages":[],"x":${'['.repeat(levels)}${']'.repeat(levels)}}`;
    expect(scan(nested(63)).model).toBe('m');
    expect(faultOf(nested(64)).message).toContain('deeper');
  });
});

describe('a chat request', () => {
  test('gives the members admission acts on', () => {
    const found = scan(
      '{ "model":"gpt-x", "stream":true, "n":2, "max_tokens":10, "max_completion_tokens":20,' +
        ' "service_tier":"flex", "stream_options":{"a":1,"include_usage":true},' +
        ' "messages":[{"role":"user","content":"hi"},{"role":"user","content":[{"type":"text","text":"x"}]}] } ',
    );
    expect(found).toMatchObject({
      model: 'gpt-x',
      stream: true,
      includeUsage: true,
      choices: 2,
      maxTokens: 10,
      maxCompletionTokens: 20,
      serviceTier: 'flex',
      messages: 2,
      hasNonText: false,
      hasCallFees: false,
    });
  });

  test.each([
    ['[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]}]'],
    ['[{"role":"user","\\u0063ontent":[{"type":"input_audio"}]}]'],
    ['[{"role":"user","content":[{"type":"text","text":"a","type":"file"}]}]'],
    ['[{"role":"user","content":[{"text":"no type"}]}]'],
    ['[{"role":"user","content":{"unknown":1}}]'],
    ['[{"role":"assistant","audio":{"id":"a"}}]'],
  ])('notes a part whose tokens its bytes do not bound: %s', (messages) => {
    expect(scan(`{"model":"m","messages":${messages}}`).hasNonText).toBe(true);
  });

  test.each([
    ['not json', null],
    ['[]', null],
    ['', null],
    ['{"model":"m","messages":[]', null],
    ['{"model":"m","messages":[]} x', null],
    ['{"messages":[]}', 'model'],
    ['{"model":"","messages":[]}', 'model'],
    ['{"model":7,"messages":[]}', 'model'],
    ['{"model":"m"}', 'messages'],
    ['{"model":"m","messages":{}}', 'messages'],
    ['{"model":"m","messages":["x"]}', 'messages'],
    ['{"model":"m","model":"n","messages":[]}', 'model'],
    ['{"model":"m","\\u006dodel":"n","messages":[]}', 'model'],
    ['{"model":"m","messages":[],"x":1,"x":2}', 'x'],
    ['{"model":"m","messages":[],"stream":1}', 'stream'],
    ['{"model":"m","messages":[],"max_tokens":0}', 'max_tokens'],
    ['{"model":"m","messages":[],"max_tokens":1.5}', 'max_tokens'],
    ['{"model":"m","messages":[],"max_tokens":-1}', 'max_tokens'],
    ['{"model":"m","messages":[],"max_tokens":"9"}', 'max_tokens'],
    ['{"model":"m","messages":[],"max_completion_tokens":1e99}', 'max_completion_tokens'],
    ['{"model":"m","messages":[],"n":129}', 'n'],
    ['{"model":"m","messages":[],"service_tier":1}', 'service_tier'],
    ['{"model":"m","messages":[],"stream_options":1}', 'stream_options'],
    [
      '{"model":"m","messages":[],"stream_options":{"include_usage":true,"include_usage":false}}',
      'include_usage',
    ],
    [
      '{"model":"m","messages":[],"stream_options":{"include_usage":"yes"}}',
      'stream_options.include_usage',
    ],
    ['{"model":"m","messages":[],"api_base":"http://evil"}', 'api_base'],
    ['{"model":"m","messages":[],"extra_headers":{}}', 'extra_headers'],
    ['{"model":"m","messages":[{"a":{"__proto__":1}}]}', null],
    ['{"model":"m","messages":[{"a":{"\\u005f_proto__":1}}]}', null],
    ['{"model":"m","messages":[],"constructor":1}', null],
    [`{"model":"m","messages":[${'{},'.repeat(2000)}{}]}`, 'messages'],
  ])('is refused with the faulty member: %.60s', (body, param) => {
    expect(faultOf(body).param).toBe(param);
  });

  test('is refused when it is not UTF-8', () => {
    const body = Buffer.concat([
      Buffer.from('{"model":"m","messages":[],"x":"'),
      Buffer.from([0xc3]),
      Buffer.from('"}'),
    ]);
    expect(scanChatRequest(body)).toMatchObject({ ok: false, error: { param: null } });
  });

  test('may hold hundreds of distinct members, and still no repeated one', () => {
    const members = Array.from({ length: 300 }, (_, index) => `,"x${index}":${index}`).join('');
    expect(scan(`{"model":"m","messages":[]${members}}`).model).toBe('m');
    expect(faultOf(`{"model":"m","messages":[]${members},"x7":1}`).param).toBe('x7');
  });
});

describe('the rewritten body', () => {
  const rewritten = (text: string, rewrite: Parameters<typeof rewriteChatRequest>[1]): string =>
    rewriteChatRequest(scan(text), rewrite).toString();

  test("is the client's bytes when nothing changes", () => {
    const text = '{"model":"m", "messages":[ ],"temperature":0.70,"big":12345678901234567890}';
    expect(rewritten(` ${text}\n`, {})).toBe(text);
  });

  test('changes the named members and not a byte more', () => {
    const text =
      '{"model":"m","temperature":1.0e0,"max_tokens": 99 ,"stream_options": { "x" : 1 },"messages":[]}';
    expect(
      rewritten(text, {
        model: 'n"é',
        outputLimit: { tokens: 5, member: 'max_completion_tokens' },
        injectUsage: true,
      }),
    ).toBe(
      '{"model":"n\\"é","temperature":1.0e0,"max_tokens": 5 ,"stream_options": {"include_usage":true, "x" : 1 },"messages":[]}',
    );
  });

  test.each([
    [MINIMAL, '{"model":"m","messages":[],"stream_options":{"include_usage":true}}'],
    [
      '{"model":"m","messages":[],"stream_options":null}',
      '{"model":"m","messages":[],"stream_options":{"include_usage":true}}',
    ],
    [
      '{"model":"m","messages":[],"stream_options":{ }}',
      '{"model":"m","messages":[],"stream_options":{"include_usage":true }}',
    ],
    [
      '{"model":"m","messages":[],"stream_options":{"include_usage":false}}',
      '{"model":"m","messages":[],"stream_options":{"include_usage":true}}',
    ],
    [
      '{"model":"m","messages":[],"stream_options":{"include_usage":true}}',
      '{"model":"m","messages":[],"stream_options":{"include_usage":true}}',
    ],
  ])('asks for usage in a stream: %s', (text, expected) => {
    expect(rewritten(text, { injectUsage: true })).toBe(expected);
  });

  test.each([
    [MINIMAL, '{"model":"m","messages":[],"max_tokens":7}'],
    ['{"model":"m","messages":[],"max_tokens":null}', '{"model":"m","messages":[],"max_tokens":7}'],
    [
      '{"model":"m","messages":[],"max_completion_tokens":9}',
      '{"model":"m","messages":[],"max_completion_tokens":7}',
    ],
    [
      '{"model":"m","messages":[],"max_completion_tokens":9,"max_tokens":8}',
      '{"model":"m","messages":[],"max_completion_tokens":7,"max_tokens":7}',
    ],
  ])('carries the output limit where the client put it: %s', (text, expected) => {
    expect(rewritten(text, { outputLimit: { tokens: 7, member: 'max_tokens' } })).toBe(expected);
  });

  test('is a valid request with the new values, whatever the request was', () => {
    const extras = fc.dictionary(fc.stringMatching(/^[a-c]x{0,3}$/), fc.jsonValue({ maxDepth: 2 }));
    const options = fc.option(
      fc.record({ include_usage: fc.boolean(), z: fc.nat() }, { requiredKeys: [] }),
    );
    const limit = fc.option(fc.integer({ min: 1, max: 9999 }));
    fc.assert(
      fc.property(extras, options, limit, limit, fc.boolean(), (extra, given, one, two, inject) => {
        const request = {
          ...extra,
          model: 'm',
          max_tokens: one,
          stream_options: given,
          messages: [{ role: 'user', content: 'é' }],
          max_completion_tokens: two,
        };
        fc.pre(!/"(__proto__|constructor|prototype)"/.test(JSON.stringify(request)));
        const before = scan(JSON.stringify(request, null, inject ? 1 : undefined));
        const out = rewriteChatRequest(before, {
          model: 'other',
          outputLimit: { tokens: 3, member: 'max_tokens' },
          injectUsage: inject,
        });
        const after = scan(out.toString());
        expect(after.model).toBe('other');
        expect(Math.min(after.maxTokens ?? 9, after.maxCompletionTokens ?? 9)).toBe(3);
        expect(Math.max(after.maxTokens ?? 3, after.maxCompletionTokens ?? 3)).toBe(3);
        expect(after.includeUsage).toBe(inject || given?.include_usage === true);
        expect(JSON.parse(out.toString())).toMatchObject(
          JSON.parse(JSON.stringify(extra)) as object,
        );
      }),
    );
  });
});

test('whatever is not text, and whatever is charged per call, is seen', () => {
  const withContent = (content: string): string =>
    `{"model":"m","messages":[{"role":"user","content":${content}}]}`;
  expect(scan(withContent('[{"type":"text","text":"hi"}]')).hasNonText).toBe(false);
  for (const part of ['{"type":"image_url","image_url":{"url":"x"}}', '"bare"', '5', 'null']) {
    expect(scan(withContent(`[{"type":"text","text":"hi"},${part}]`)).hasNonText).toBe(true);
  }
  const searching = (options: string): string =>
    `{"model":"m","messages":[],"web_search_options":${options}}`;
  expect(scan(searching('{}')).hasCallFees).toBe(true);
  expect(scan(searching('null')).hasCallFees).toBe(false);
});
