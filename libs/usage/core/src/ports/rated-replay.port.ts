/** Metering's promise to say again what it said about charges. */
export abstract class RatedReplay {
  /**
   * Has the `usage.rated` messages that cover a source partition from an offset on sent again, in
   * order, through the log. Those who have applied them before see repeats and change nothing. Safe
   * to repeat; a call sends a bounded number of messages, the first of which holds `fromOffset`.
   * @param topic source topic, for example `request.completed`
   * @param partition of the source topic
   * @param fromOffset source offset as integer text, the first that is missing
   * @throws AppError `metering.rated_unknown` when metering has not rated that offset
   */
  abstract replay(topic: string, partition: number, fromOffset: string): Promise<void>;
}

/** The name under which metering offers `RatedReplay` to other services. */
export const RATED_REPLAY_SERVICE = 'metering.rated';

/** The methods of `RatedReplay`, as offered between services. */
export const RATED_REPLAY_METHODS = ['replay'] as const;
