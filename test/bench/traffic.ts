/** Kinds of traffic. */
export const TRAFFIC = ['plain', 'stream'] as const;
/** One of them. */
export type TrafficName = (typeof TRAFFIC)[number];

/** One kind of request of the bench. */
export interface Traffic {
  /** The model; its name tells the simulator what to answer. */
  readonly model: string;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly body: string;
}

/** Bytes of a plain request, so that runs of different years compare. */
const PLAIN_BYTES = 400;
/** Chunks of text in a stream and the pause between two, milliseconds. */
const CHUNKS = 40;
const INTERVAL_MS = 5;

/** 400 bytes in, 532 bytes out. */
export const PLAIN: Traffic = {
  model: 'fake-in90-out16',
  inputTokens: 90,
  outputTokens: 16,
  body: padded({ model: 'fake-in90-out16', max_tokens: 16 }),
};

const STREAM_MODEL = `fake-in90-out${CHUNKS}-chunks${CHUNKS}-interval${INTERVAL_MS}-stamp`;

/** 40 chunks of text 5 ms apart, each with the time it was written. */
export const STREAM: Traffic = {
  model: STREAM_MODEL,
  inputTokens: 90,
  outputTokens: CHUNKS,
  body: padded({ model: STREAM_MODEL, stream: true, stream_options: { include_usage: true } }),
};

/** How long a stream takes, milliseconds. */
export const STREAM_MS = CHUNKS * INTERVAL_MS;
/** Events of a stream: its opening, the text, the finish reason, the usage, the end mark. */
export const FRAMES_PER_STREAM = CHUNKS + 4;

function padded(members: Record<string, unknown>): string {
  const bodyWith = (content: string): string =>
    JSON.stringify({ ...members, messages: [{ role: 'user', content }] });
  return bodyWith('word '.repeat(100).slice(0, PLAIN_BYTES - bodyWith('').length));
}

/** The catalogue of both models behind the simulator, with a credential as a provider asks for it. */
export function benchCatalog(): string {
  const models = [PLAIN, STREAM].map(({ model, inputTokens, outputTokens }) => ({
    id: model,
    created: 1_700_000_000,
    limits: {
      context_tokens: 4_096,
      max_input_tokens: inputTokens,
      max_output_tokens: outputTokens,
      hold_input_from_limit: true,
    },
    routes: [{ provider: 'simulator', model }],
  }));
  const provider = {
    name: 'simulator',
    type: 'openai',
    base_url: '${SIMULATOR_URL}/v1',
    credential_env: 'BENCH_CREDENTIAL',
    usage_in_stream: 'inject',
  };
  return JSON.stringify({ models, providers: [provider] });
}

/** Prices of both models. */
export function benchPrices(): string {
  const sheets = [PLAIN, STREAM].map(({ model }) => ({
    model,
    effective_from: '2026-01-01T00:00:00Z',
    source: { url: 'https://example.com/prices', read_on: '2026-01-01' },
    tiers: [
      {
        service_tier: 'standard',
        input_from: 0,
        usd_per_million_tokens: { input_text: '1', output_text: '2' },
      },
    ],
  }));
  return JSON.stringify({ provider: 'simulator', currency: 'USD', sheets });
}
