/** A partition in the hands of this process; every transaction asserts the epoch. */
export interface OwnedPartition {
  readonly topic: string;
  readonly partition: number;
  readonly epoch: bigint;
}
