import { describe, expect, test } from '@jest/globals';
import { assert, integer, property } from 'fast-check';

import { renderPlain, renderStream } from './answer.js';
import { planCompletion, RequestError } from './completion-plan.js';

const messages = [{ role: 'user', content: 'hello' }];
const plan = (request: object) =>
  planCompletion(Buffer.from(JSON.stringify({ messages, ...request })));

describe('usage', () => {
  test('a fake model reports the sizes in its name', () => {
    expect(plan({ model: 'fake-in1000-out500' })).toMatchObject({
      inputTokens: 1000,
      outputTokens: 500,
      isCut: false,
    });
  });

  test('reported output is never more than the limit of the client', () => {
    assert(
      property(integer({ min: 1, max: 2000 }), integer({ min: 0, max: 2000 }), (limit, wanted) => {
        const model = `fake-in1-out${wanted}`;
        const expected = Math.min(limit, wanted);
        expect(plan({ model, max_tokens: limit }).outputTokens).toBe(expected);
        expect(plan({ model, max_completion_tokens: limit }).outputTokens).toBe(expected);
      }),
    );
  });

  test('of two limits the stricter one counts', () => {
    const limits = { max_tokens: 7, max_completion_tokens: 5 };
    expect(plan({ model: 'fake-in1-out9', ...limits })).toMatchObject({
      outputTokens: 5,
      isCut: true,
    });
  });

  test('other models count a token for four bytes and write 20 to 60', () => {
    const { inputTokens, outputTokens } = plan({ model: 'simulator-mini' });
    expect(inputTokens).toBe(Math.ceil(JSON.stringify(messages).length / 4));
    expect(outputTokens).toBeGreaterThanOrEqual(20);
    expect(outputTokens).toBeLessThanOrEqual(60);
  });

  test('the script of a request overrides its model', () => {
    const simulator = { input_tokens: 3, output_tokens: 4, cached_tokens: 9 };
    expect(plan({ model: 'fake-in10-out10', simulator })).toMatchObject({
      inputTokens: 3,
      outputTokens: 4,
      cachedTokens: 3,
    });
  });

  test('suffixes of a fake model dictate status, pace and faults', () => {
    const { script } = plan({
      model: 'fake-in1-out2-status429-latency30-interval5-cut_mid_stream',
    });
    expect(script).toMatchObject({
      status: 429,
      latencyMs: 30,
      chunkIntervalMs: 5,
      fault: 'cut_mid_stream',
    });
  });
});

describe('answers', () => {
  test('equal requests get equal bytes', () => {
    const request = { model: 'simulator-mini', stream_options: { include_usage: true } };
    expect(renderPlain(plan(request))).toBe(renderPlain(plan(request)));
    expect(renderStream(plan(request))).toEqual(renderStream(plan(request)));
  });

  test('the chunks of a stream add up to the text of the plain answer', () => {
    const request = { model: 'fake-in1-out50', simulator: { chunks: 7 } };
    const { choices } = JSON.parse(renderPlain(plan(request)));
    const texts = renderStream(plan(request)).chunks.map(
      (frame) => JSON.parse(frame.slice('data: '.length)).choices[0].delta.content,
    );
    expect(texts).toHaveLength(7);
    expect(texts.join('')).toBe(choices[0].message.content);
  });

  test('a stream carries usage only when it is asked for', () => {
    const model = 'fake-in3-out4';
    expect(renderStream(plan({ model })).tail).not.toContain('usage');
    const asked = renderStream(plan({ model, stream_options: { include_usage: true } })).tail;
    expect(asked).toContain('"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4');
  });

  test('usage faults are told in the answer only', () => {
    const model = 'fake-in3-out4-usage_absurd';
    expect(renderPlain(plan({ model }))).toContain('"completion_tokens":9223372036854775808');
    expect(plan({ model }).outputTokens).toBe(4);
  });
});

describe('refusals', () => {
  const param = (request: object): string | null => {
    try {
      plan(request);
    } catch (error) {
      return (error as RequestError).param;
    }
    return 'nothing was refused';
  };

  test('a faulty member is named', () => {
    expect(param({})).toBe('model');
    expect(param({ model: 'm', messages: [] })).toBe('messages');
    expect(param({ model: 'm', max_tokens: 0 })).toBe('max_tokens');
    expect(param({ model: 'm', simulator: { fault: 'nonsense' } })).toBe('simulator');
    expect(param({ model: 'm', simulator: { unheard: 1 } })).toBe('simulator');
    expect(param({ model: 'fake-in1-out1-nonsense' })).toBe('simulator');
  });

  test('bytes that are no JSON object are refused', () => {
    for (const text of ['', '{', '[]', '"x"', 'null']) {
      expect(() => planCompletion(Buffer.from(text))).toThrow(RequestError);
    }
  });
});
