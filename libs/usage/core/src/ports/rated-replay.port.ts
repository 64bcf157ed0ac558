/** How far the rated batches of a source partition reach. */
export interface FinishedThrough {
  /** Source topic, for example `request.completed`. */
  readonly topic: string;
  readonly partition: number;
  /** The source offset after the last one that a finished batch covers, as integer text. */
  readonly nextOffset: string;
}

/** Metering's promise to say again what it said about charges. */
export abstract class RatedReplay {
  /**
   * Has the `usage.rated` messages that cover a source partition from an offset on sent again, in
   * order, through the log. Those who have applied them before see repeats and change nothing. Safe
   * to repeat; a call sends a bounded number of messages, the first of which holds `fromOffset`.
   * @param topic source topic, for example `request.completed`
   * @param partition of the source topic
   * @param fromOffset source offset as integer text, the first that is missing
   * @returns the source offset after what was sent, as integer text; null from a release that does
   *   not say
   * @throws AppError `metering.rated_unknown` when metering has not rated that offset
   */
  abstract replay(topic: string, partition: number, fromOffset: string): Promise<string | null>;

  /**
   * How far every source partition is finished: who has applied all `usage.rated` messages has come
   * exactly as far. Partitions of which nothing is finished are absent.
   */
  abstract finishedThrough(): Promise<readonly FinishedThrough[]>;
}

/** The name under which metering offers `RatedReplay` to other services. */
export const RATED_REPLAY_SERVICE = 'metering.rated';

/** The methods of `RatedReplay`, as offered between services. */
export const RATED_REPLAY_METHODS = ['replay', 'finishedThrough'] as const;
