/** What an append, or a look at the log, has seen: every offset below `nextOffset` is readable. */
export type TailListener = (topic: string, partition: number, nextOffset: bigint) => void;

/**
 * Tells the readers of this process of appends of this process, so that they need not wait for the
 * next poll. Logs of one process on one database share an instance; it is a shortcut, not a promise.
 */
export class AppendSignal {
  private readonly listeners = new Set<TailListener>();

  /** Tells all listeners. */
  publish(topic: string, partition: number, nextOffset: bigint): void {
    for (const listener of this.listeners) listener(topic, partition, nextOffset);
  }

  /** @returns a function that takes the listener off */
  subscribe(listener: TailListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
