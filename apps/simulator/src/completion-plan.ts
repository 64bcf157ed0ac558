import { createHash } from 'node:crypto';

import { applyMembers, ScriptError, scriptOfModel, type Script } from './script.js';

/** Everything about an answer that follows from its request alone. */
export interface CompletionPlan {
  readonly model: string;
  readonly isStream: boolean;
  /** Whether a stream ends with a chunk that carries the usage. */
  readonly isUsageAsked: boolean;
  /** Tokens that are billed, and reported unless a fault says otherwise. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cachedTokens: number;
  /** Whether the client's limit ended the answer. */
  readonly isCut: boolean;
  /** 32-bit seed of the text. */
  readonly seed: number;
  readonly script: Script;
}

/** A request that an OpenAI-compatible provider would refuse with 400. */
export class RequestError extends Error {
  /** @param param the faulty member, null for the body as a whole */
  constructor(
    message: string,
    readonly param: string | null,
  ) {
    super(message);
  }
}

/** Bytes of messages that count as one input token of a model without a dictated size. */
const BYTES_PER_TOKEN = 4;
/** Output of a model without a dictated size, tokens: 20 to 60. */
const LEAST_OUTPUT = 20;
const OUTPUT_SPREAD = 41;

/**
 * Plans the answer to a chat completion; the same bytes always give the same plan.
 * @param body the JSON text as received
 * @throws RequestError when it is no chat completion request or its script cannot be followed
 */
export function planCompletion(body: Buffer): CompletionPlan {
  const request = parseObject(body);
  const { model, messages } = request;
  if (typeof model !== 'string' || model === '') {
    throw new RequestError('you must provide a model parameter', 'model');
  }
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new RequestError('messages must be a non-empty array', 'messages');
  }
  const script = scriptFor(model, request['simulator']);
  const limit = outputLimit(request);
  const digest = script.inputTokens === null ? digestOf(messages) : digestOf(model);
  const wanted = script.outputTokens ?? LEAST_OUTPUT + (digest.seed % OUTPUT_SPREAD);
  const inputTokens = script.inputTokens ?? Math.ceil(digest.sizeBytes / BYTES_PER_TOKEN);
  return {
    model,
    isStream: request['stream'] === true,
    isUsageAsked: isUsageAsked(request['stream_options']),
    inputTokens,
    outputTokens: Math.min(wanted, limit),
    cachedTokens: Math.min(script.cachedTokens, inputTokens),
    isCut: limit < wanted,
    seed: digest.seed,
    script,
  };
}

function parseObject(body: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    throw new RequestError('the body is not valid JSON', null);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new RequestError('the body must be a JSON object', null);
  }
  return value as Record<string, unknown>;
}

function scriptFor(model: string, members: unknown): Script {
  try {
    return applyMembers(scriptOfModel(model), members);
  } catch (error) {
    if (error instanceof ScriptError) throw new RequestError(error.message, 'simulator');
    throw error;
  }
}

/** The stricter of the two limits that a request may carry; without one there is none. */
function outputLimit(request: Record<string, unknown>): number {
  const limits = ['max_tokens', 'max_completion_tokens'].map((name) => {
    const value = request[name];
    if (value === undefined || value === null) return Number.POSITIVE_INFINITY;
    if (Number.isInteger(value) && Number(value) >= 1) return Number(value);
    throw new RequestError(`${name} must be an integer of at least 1`, name);
  });
  return Math.min(...limits);
}

function isUsageAsked(options: unknown): boolean {
  return typeof options === 'object' && options !== null && 'include_usage' in options
    ? options.include_usage === true
    : false;
}

function digestOf(value: unknown): { readonly seed: number; readonly sizeBytes: number } {
  const text = JSON.stringify(value);
  const seed = createHash('sha1').update(text).digest().readUInt32BE(0);
  return { seed, sizeBytes: Buffer.byteLength(text) };
}
