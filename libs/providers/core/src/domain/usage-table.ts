import type { UsageCell } from '../usage-vector.js';

/** The API whose usage objects a table reads. */
export type UsageFlavour = 'openai_chat';

/** One sub-count of a usage object that has a cell of its own. */
export interface UsageRow {
  /** Members from the usage object inwards. */
  readonly path: readonly [string, string];
  readonly cell: UsageCell;
}

/** One side of a usage object: a headline count and the sub-counts inside it. */
export interface UsageSide {
  /** The member with the headline count. */
  readonly headline: string;
  /** Gets what no row takes out of the headline. */
  readonly remainder: UsageCell;
  /** Sub-counts inside the headline. */
  readonly inside: readonly UsageRow[];
  /**
   * Cells that give way, in this order, when the sub-counts exceed the headline: a cached count can
   * span modalities that are also counted on their own.
   */
  readonly yields: readonly UsageCell[];
}

/** How the usage objects of one API become a vector. */
export interface UsageTable {
  readonly input: UsageSide;
  readonly output: UsageSide;
  /** The provider's own total, compared with the sum of the cells. */
  readonly total: string;
}

/**
 * Extraction tables; a flavour is a row here, never a branch in code.
 * @source OpenAI API reference, the chat completion object, `usage`
 */
export const USAGE_TABLES: Readonly<Record<UsageFlavour, UsageTable>> = {
  openai_chat: {
    input: {
      headline: 'prompt_tokens',
      remainder: 'input_text',
      inside: [
        { path: ['prompt_tokens_details', 'cached_tokens'], cell: 'cache_read_text' },
        { path: ['prompt_tokens_details', 'cache_write_tokens'], cell: 'cache_write_unspecified' },
        { path: ['prompt_tokens_details', 'audio_tokens'], cell: 'input_audio' },
        { path: ['prompt_tokens_details', 'image_tokens'], cell: 'input_image' },
        { path: ['prompt_tokens_details', 'video_tokens'], cell: 'input_video' },
      ],
      yields: ['input_image', 'input_audio', 'input_video'],
    },
    output: {
      headline: 'completion_tokens',
      remainder: 'output_text',
      inside: [
        { path: ['completion_tokens_details', 'reasoning_tokens'], cell: 'output_reasoning' },
        { path: ['completion_tokens_details', 'audio_tokens'], cell: 'output_audio' },
        { path: ['completion_tokens_details', 'image_tokens'], cell: 'output_image' },
      ],
      yields: ['output_image', 'output_audio', 'output_video'],
    },
    total: 'total_tokens',
  },
};
