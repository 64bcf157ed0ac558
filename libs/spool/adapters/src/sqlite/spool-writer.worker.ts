import { parentPort, workerData } from 'node:worker_threads';

import { AppError, armFailpoints, assert, messageOf } from '#libs/kernel';

import { ReserveFile } from './reserve-file.js';
import { occupiedBytes } from './spool-connection.js';
import { openSpoolFile, type OpenedFile } from './spool-opening.js';
import { SpoolReader } from './spool-reader.js';
import { SpoolTrimmer } from './spool-trimmer.js';
import { sqliteFault } from './sqlite-fault.js';
import {
  toWireError,
  type FileSizes,
  type WriterCall,
  type WriterCallName,
  type WriterCalls,
  type WriterData,
  type WriterMessage,
} from './writer-protocol.js';

/*
 * The thread that owns the file: one connection, synchronous calls, no timers. It acts only on
 * messages: a bare buffer is a group to commit, anything else a call.
 */

type Handlers = {
  readonly [Name in WriterCallName]: (argument: WriterCalls[Name][0]) => WriterCalls[Name][1];
};

assert(parentPort !== null, 'the writer runs in a thread of its own');
const port = parentPort;
const data = workerData as WriterData;
const reserve = new ReserveFile(data.directory);
if (data.faults) armFailpoints(data.faults.spec, data.faults.record);

function send(message: WriterMessage): void {
  port.postMessage(message);
}

function commitGroup(opened: OpenedFile, packed: ArrayBuffer): void {
  try {
    send(opened.file.commit(Buffer.from(packed)));
  } catch (error) {
    if (isFatal(error)) throw error;
    const diskFull = sqliteFault(error) === 'disk_full';
    if (diskFull) reserve.giveUp();
    send({ kind: 'group-failed', diskFull, reason: messageOf(error) });
  }
}

/** Whether only a new start can tell what the file holds. */
function isFatal(error: unknown): boolean {
  if (error instanceof AppError) return error.code.startsWith('spool.damaged');
  const fault = sqliteFault(error);
  return fault === 'damaged' || fault === 'unsafe';
}

/** A checkpoint that fails loses nothing: the log goes on growing, and a full volume shows in a commit. */
function checkpoint({ file }: OpenedFile): void {
  try {
    file.checkpointWhenDue();
  } catch (error) {
    if (isFatal(error)) throw error;
  }
}

function handlersOf(opened: OpenedFile): Handlers {
  const { file } = opened;
  const reader = new SpoolReader(file.db);
  const trimmer = new SpoolTrimmer(file, data);
  const sizes = (): FileSizes => ({
    unpublishedBytes: file.unpublishedBytes,
    sizeBytes: occupiedBytes(file.db),
  });
  return {
    read: ({ after, maxEvents, maxBytes }) => reader.read(after, maxEvents, maxBytes),
    published: (range) =>
      reader.published({
        ...range,
        lastSequence: file.lastSequence(range.lane),
        ackedPosition: file.ackedPosition,
      }),
    acknowledge: ({ position }) => {
      file.acknowledge(position);
      return sizes();
    },
    tend: ({ nowMs }) => {
      file.settle();
      const isTrimDue = trimmer.tend(nowMs);
      checkpoint(opened);
      return { ...sizes(), isTrimDue, hasReserve: reserve.restore() };
    },
    openAttempts: ({ numbers }) =>
      reader.attempts(numbers.filter((number) => file.ledger.isOpen(number))),
    knownEvents: ({ eventIds }) => reader.knownEvents(eventIds),
    keptSince: ({ nowMs }) => trimmer.keptSince(nowMs),
    close: () => {
      file.settle();
      file.db.exec('UPDATE spool_meta SET clean = 1');
      file.db.close();
      return null;
    },
  };
}

function answer(handlers: Handlers, { id, name, argument }: WriterCall): void {
  try {
    const handler = handlers[name] as (value: unknown) => unknown;
    send({ kind: 'answer', id, value: handler(argument) });
    if (name === 'close') port.close();
  } catch (error) {
    if (isFatal(error)) throw error;
    send({ kind: 'call-failed', id, error: toWireError(error) });
  }
}

/** Ends the thread after telling why: what the file holds is only certain after a new start. */
function guarded(step: () => void): void {
  try {
    step();
  } catch (error) {
    send({ kind: 'fatal', reason: messageOf(error) });
    port.close();
  }
}

function start(): void {
  let opened: OpenedFile;
  let hasReserve: boolean;
  try {
    opened = openSpoolFile(data);
    hasReserve = reserve.restore();
  } catch (error) {
    send({ kind: 'refused', error: toWireError(error) });
    port.close();
    return;
  }
  const handlers = handlersOf(opened);
  port.on('message', (message: ArrayBuffer | WriterCall) => {
    if (message instanceof ArrayBuffer) {
      guarded(() => {
        commitGroup(opened, message);
        checkpoint(opened);
      });
    } else guarded(() => answer(handlers, message));
  });
  send({ kind: 'opened', opening: { ...opened.opening, hasReserve } });
}

start();
