import type { CompletionPlan } from './completion-plan.js';

/** A streamed answer as server-sent events, ready to be written. */
export interface StreamFrames {
  /** Opens the message; carries no text. */
  readonly head: string;
  /** One event per chunk of text. */
  readonly chunks: readonly string[];
  /** Finish reason, usage when asked for, and the end mark. */
  readonly tail: string;
}

const WORDS =
  'time year people way day man thing woman life child world school state family student group country problem hand part place case week company system program question work night point home water room mother area money story fact month lot right study book eye job word business issue side kind head house service friend father power hour game line end member law car city name team minute idea body back parent face level office door health person art war history party result change morning reason girl guy moment air teacher force foot'.split(
    ' ',
  );

/** Words of text written at most, whatever the usage says; bounds the size of an answer. */
const MOST_WORDS = 4_000;
/** Chunks of a stream when the script does not say. */
const DEFAULT_CHUNKS = 16;
/** When the simulated models were made, Unix seconds; fixed, so that equal requests get equal bytes. */
const CREATED_S = 1_767_225_600;

/** One word per output token, drawn from the seed; 4,000 words at most. */
function wordsOf(plan: CompletionPlan): string[] {
  let state = plan.seed;
  return Array.from({ length: Math.min(plan.outputTokens, MOST_WORDS) }, () => {
    // A linear congruential generator is enough for filler text, and repeatable everywhere.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return WORDS[(state >>> 8) % WORDS.length] ?? 'time';
  });
}

function answerId(plan: CompletionPlan): string {
  return `chatcmpl-sim${plan.seed.toString(16).padStart(8, '0')}`;
}

function finishReason(plan: CompletionPlan): 'length' | 'stop' {
  return plan.isCut ? 'length' : 'stop';
}

/** The usage object as JSON text, with the faults that a script may ask for; null = no usage. */
function usageText(plan: CompletionPlan): string | null {
  const { fault } = plan.script;
  if (fault === 'omit_usage') return null;
  const input = plan.inputTokens;
  const output = plan.outputTokens;
  const text = (prompt: unknown, completion: unknown, total: unknown): string =>
    `{"prompt_tokens":${String(prompt)},"completion_tokens":${String(completion)},` +
    `"total_tokens":${String(total)},"prompt_tokens_details":{"cached_tokens":${plan.cachedTokens}},` +
    `"completion_tokens_details":{"reasoning_tokens":0}}`;
  if (fault === 'usage_string') return text(`"${input}"`, `"${output}"`, `"${input + output}"`);
  if (fault === 'usage_negative') return text(input, -output - 1, input - output - 1);
  if (fault === 'usage_absurd') return text(input, 2n ** 63n, 2n ** 63n);
  return text(input, output, input + output);
}

/** A plain answer as JSON text, in the shape of OpenAI's chat completion object. */
export function renderPlain(plan: CompletionPlan): string {
  if (plan.script.fault === 'malformed') return '{"id":"chatcmpl-sim","object":';
  const usage = usageText(plan);
  const answer = JSON.stringify({
    id: answerId(plan),
    object: 'chat.completion',
    created: CREATED_S,
    model: plan.model,
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: wordsOf(plan).join(' '), refusal: null },
        logprobs: null,
        finish_reason: finishReason(plan),
      },
    ],
    service_tier: 'default',
    system_fingerprint: 'fp_simulator',
  });
  return usage === null ? answer : `${answer.slice(0, -1)},"usage":${usage}}`;
}

/** A streamed answer, in the shape of OpenAI's chat completion chunks. */
export function renderStream(plan: CompletionPlan): StreamFrames {
  const common = {
    id: answerId(plan),
    object: 'chat.completion.chunk',
    created: CREATED_S,
    model: plan.model,
    service_tier: 'default',
    system_fingerprint: 'fp_simulator',
  };
  const event = (choices: readonly object[], usage: string | null): string => {
    const text = JSON.stringify({ ...common, choices });
    const member = plan.isUsageAsked && usage !== null ? `,"usage":${usage}` : '';
    return `data: ${text.slice(0, -1)}${member}}\n\n`;
  };
  const delta = (part: object, reason: string | null): string =>
    event([{ index: 0, delta: part, logprobs: null, finish_reason: reason }], 'null');
  const usage = usageText(plan);
  const usageEvent = plan.isUsageAsked && usage !== null ? event([], usage) : '';
  const isTwice = plan.script.fault === 'usage_twice';
  return {
    head: delta({ role: 'assistant', content: '', refusal: null }, null),
    chunks: chunksOf(plan).map((content) => delta({ content }, null)),
    tail:
      delta({}, finishReason(plan)) +
      (isTwice ? usageEvent + usageEvent : usageEvent) +
      'data: [DONE]\n\n',
  };
}

function chunksOf(plan: CompletionPlan): readonly string[] {
  const words = wordsOf(plan);
  const count = plan.script.chunks ?? Math.min(DEFAULT_CHUNKS, Math.max(1, words.length));
  return Array.from({ length: count }, (_, index) => {
    const from = Math.floor((index * words.length) / count);
    const to = Math.floor(((index + 1) * words.length) / count);
    const text = words.slice(from, to).join(' ');
    return from > 0 && text !== '' ? ` ${text}` : text;
  });
}

/** An error in OpenAI's envelope, as JSON text. */
export function renderError(status: number, message: string, param: string | null): string {
  const type = status >= 500 ? 'server_error' : 'invalid_request_error';
  const code = status === 429 ? 'rate_limit_exceeded' : null;
  return JSON.stringify({ error: { message, type, param, code } });
}

/** The list of models in OpenAI's shape, as JSON text. */
export function renderModels(models: readonly string[]): string {
  const data = models.map((id) => ({
    id,
    object: 'model',
    created: CREATED_S,
    owned_by: 'simulator',
  }));
  return JSON.stringify({ object: 'list', data });
}
