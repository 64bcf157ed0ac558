import { Worker } from 'node:worker_threads';

import { messageOf } from '#libs/kernel';

import {
  fromWireError,
  unavailable,
  type Opening,
  type WriterCall,
  type WriterCallName,
  type WriterCalls,
  type WriterData,
  type WriterMessage,
} from './writer-protocol.js';

/** Who hears of the groups' fate. */
export interface WriterListener {
  /** The group in flight is durable. */
  committed(lastPosition: number): void;
  /** Nothing of the group in flight is stored. */
  failed(diskFull: boolean, reason: string): void;
  /** The thread is gone for good, and not because it was closed. */
  died(reason: string): void;
}

interface PendingCall {
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

/** The writer thread as the request thread sees it: groups one at a time, and calls. */
export class WriterThread {
  private readonly calls = new Map<number, PendingCall>();
  private nextCall = 1;
  private listener: WriterListener | null = null;
  private isOver = false;

  private constructor(private readonly worker: Worker) {}

  /**
   * Starts the thread and opens the file.
   * @throws AppError what the opening throws, `spool.unavailable` when the thread dies
   */
  static async start(data: WriterData): Promise<{ writer: WriterThread; opening: Opening }> {
    const worker = new Worker(new URL('./spool-writer.worker.js', import.meta.url), {
      workerData: data,
      name: 'spool-writer',
    });
    const writer = new WriterThread(worker);
    const opening = await new Promise<Opening>((resolve, reject) => {
      worker.on('message', (message: WriterMessage) => {
        if (typeof message === 'number') writer.listener?.committed(message);
        else if (message.kind === 'opened') resolve(message.opening);
        else if (message.kind === 'refused') reject(fromWireError(message.error));
        else writer.receive(message);
      });
      worker.on('error', (error) => writer.end(messageOf(error)));
      worker.on('exit', () => {
        writer.end('the writer thread has ended');
        reject(unavailable('the writer thread has ended'));
      });
    });
    return { writer, opening };
  }

  /** Names who hears of groups; once, before the first one. */
  listen(listener: WriterListener): void {
    this.listener = listener;
  }

  /** Sends a group; its memory now belongs to the thread. The listener hears of its fate. */
  commit(group: Buffer): void {
    const memory = group.buffer as ArrayBuffer;
    this.worker.postMessage(memory, [memory]);
  }

  /** @throws AppError what the call throws, `spool.unavailable` when the thread is gone */
  call<Name extends WriterCallName>(
    name: Name,
    argument: WriterCalls[Name][0],
  ): Promise<WriterCalls[Name][1]> {
    return new Promise((resolve, reject) => {
      if (this.isOver) return reject(unavailable('the writer thread has ended'));
      const id = this.nextCall++;
      this.calls.set(id, { resolve: resolve as (value: never) => void, reject });
      const call: WriterCall = { id, name, argument };
      this.worker.postMessage(call);
    });
  }

  /** Closes the file and ends the thread. */
  async close(): Promise<void> {
    const ended = new Promise<void>((resolve) => this.worker.once('exit', () => resolve()));
    await this.call('close', {});
    this.isOver = true;
    await ended;
  }

  /** Ends the thread as it stands; what is not committed is not stored. */
  async kill(): Promise<void> {
    await this.worker.terminate();
  }

  private receive(message: Exclude<WriterMessage, number>): void {
    if (message.kind === 'group-failed') {
      return this.listener?.failed(message.diskFull, message.reason);
    }
    if (message.kind === 'fatal') return this.end(message.reason);
    if (message.kind !== 'answer' && message.kind !== 'call-failed') return;
    const call = this.calls.get(message.id);
    this.calls.delete(message.id);
    if (message.kind === 'answer') call?.resolve(message.value as never);
    else call?.reject(fromWireError(message.error));
  }

  private end(reason: string): void {
    if (this.isOver) return;
    this.isOver = true;
    for (const call of this.calls.values()) call.reject(unavailable(reason));
    this.calls.clear();
    this.listener?.died(reason);
  }
}
