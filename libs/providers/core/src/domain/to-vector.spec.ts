import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { tokenTotals } from '../usage-vector.js';
import { toVector } from './to-vector.js';

const openai = (usage: unknown) => toVector('openai_chat', usage);

describe('the usage object of chat completions', () => {
  test.each([
    [
      { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 },
      { input_text: 10, output_text: 5 },
      [],
    ],
    [{ prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }, {}, []],
    [
      {
        prompt_tokens: 100,
        completion_tokens: 50,
        total_tokens: 150,
        prompt_tokens_details: {
          cached_tokens: 60,
          cache_write_tokens: 10,
          audio_tokens: 5,
          text_tokens: 25,
        },
        completion_tokens_details: {
          reasoning_tokens: 30,
          audio_tokens: 5,
          rejected_prediction_tokens: 3,
        },
      },
      {
        input_text: 25,
        cache_read_text: 60,
        cache_write_unspecified: 10,
        input_audio: 5,
        output_text: 15,
        output_reasoning: 30,
        output_audio: 5,
      },
      [],
    ],
    [
      {
        prompt_tokens: 10,
        completion_tokens: 1,
        prompt_tokens_details: { cached_tokens: 8, image_tokens: 6 },
      },
      { cache_read_text: 8, input_image: 2, output_text: 1 },
      ['cache_split_unknown'],
    ],
    // Reasoning counted outside the headline shows in the total.
    [
      {
        prompt_tokens: 10,
        completion_tokens: 5,
        total_tokens: 115,
        completion_tokens_details: { reasoning_tokens: 100 },
      },
      { input_text: 10, output_reasoning: 100, output_text: 5 },
      ['vector_mismatch'],
    ],
    [
      { prompt_tokens: 10, completion_tokens: 5, total_tokens: 14 },
      { input_text: 10, output_text: 5 },
      ['vector_mismatch'],
    ],
    [{ prompt_tokens: 10, total_tokens: 12 }, { input_text: 10, output_text: 2 }, []],
  ])('%j becomes %j', (usage, vector, flags) => {
    expect(openai(usage)).toEqual({ outcome: 'measured', vector, flags });
  });

  test.each([
    [null],
    ['text'],
    [[]],
    [{}],
    [{ prompt_tokens: 3 }],
    [{ prompt_tokens: null, completion_tokens: 4 }],
  ])('%j says nothing, which is not zero', (usage) =>
    expect(openai(usage)).toEqual({ outcome: 'missing' }),
  );

  test.each([
    [{ prompt_tokens: -1, completion_tokens: 1 }],
    [{ prompt_tokens: 1.5, completion_tokens: 1 }],
    [{ prompt_tokens: '9', completion_tokens: 1 }],
    [{ prompt_tokens: 1, completion_tokens: 2 ** 63 }],
    [{ prompt_tokens: 1, completion_tokens: 1, total_tokens: -2 }],
    [{ prompt_tokens: 1, completion_tokens: 1, prompt_tokens_details: { cached_tokens: -1 } }],
    [{ prompt_tokens: 1, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 9 } }],
  ])('%j is quarantined', (usage) => expect(openai(usage).outcome).toBe('quarantined'));

  test('the cells add up to the headlines for every split', () => {
    const part = fc.nat({ max: 1000 });
    fc.assert(
      fc.property(
        part,
        part,
        part,
        part,
        part,
        part,
        (text, cached, written, audio, said, thought) => {
          const result = openai({
            prompt_tokens: text + cached + written + audio,
            completion_tokens: said + thought,
            total_tokens: text + cached + written + audio + said + thought,
            prompt_tokens_details: {
              cached_tokens: cached,
              cache_write_tokens: written,
              audio_tokens: audio,
            },
            completion_tokens_details: { reasoning_tokens: thought },
          });
          if (result.outcome !== 'measured') throw new Error(result.outcome);
          expect(tokenTotals(result.vector)).toEqual({
            tokensIn: text + cached + written + audio,
            tokensOut: said + thought,
          });
          expect(result.flags).toEqual([]);
        },
      ),
    );
  });
});

test('one missing headline count follows from the total; a total below the other one says nothing', () => {
  expect(openai({ prompt_tokens: 10, total_tokens: 15 })).toMatchObject({
    vector: { input_text: 10, output_text: 5 },
  });
  expect(openai({ completion_tokens: 5, total_tokens: 15 })).toMatchObject({
    vector: { input_text: 10, output_text: 5 },
  });
  for (const usage of [
    { prompt_tokens: 10, total_tokens: 9 },
    { completion_tokens: 10, total_tokens: 9 },
    { total_tokens: 15 },
    { prompt_tokens: 10 },
  ]) {
    expect(openai(usage)).toEqual({ outcome: 'missing' });
  }
});
