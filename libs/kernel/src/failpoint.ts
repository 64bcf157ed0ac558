import { closeSync, openSync, writeSync } from 'node:fs';

/** Every place where a fault can be put into a process; `npm run chaos` reports hits by these names. */
export const FAILPOINTS = [
  'admit.before_hold',
  'admit.after_hold',
  'dispatch.before_sent',
  'dispatch.after_sent',
  'stream.chunk',
  'outcome.before_commit',
  'outcome.after_commit',
  'spool.commit',
  'spool.checkpoint',
  'spool.trim',
  'relay.before_send',
  'relay.after_send',
  'relay.after_ack',
  'sink.after_read',
  'sink.after_plan',
  'sink.mid_insert',
  'sink.after_insert',
  'sink.before_commit',
  'sink.after_commit',
  'seal.before',
  'seal.after',
  'outbox.after_send',
  'outbox.after_mark',
  'rated.before_apply',
  'rated.after_apply',
  'block.after_write',
  'job.start',
  'control.after_apply',
] as const;

/** The name of one place. */
export type FailpointName = (typeof FAILPOINTS)[number];

/** What happens at a place, and at which of its hits, counted from 1. */
interface Arming {
  readonly action: 'kill9' | 'stop' | 'throw' | 'delay';
  readonly ms: number;
  readonly atHit: number;
  hits: number;
}

/** Null in every process that was not asked for faults, so that a call costs one comparison. */
let armed: Map<string, Arming> | null = null;
let recordFile: string | null = null;

/**
 * Arms failpoints in this thread: `name=kill9@n`, `stop@n`, `throw@n` or `delay:ms@n`, separated by
 * commas; `@n` is the hit it acts on, 1 when absent. `delay` acts on every hit from the n-th on.
 * @param record a file to which `<name> <action>` is appended before each action, or null
 * @throws Error that names the part it does not understand
 */
export function armFailpoints(spec: string, record: string | null = null): void {
  const arming = new Map<string, Arming>();
  for (const part of spec.split(',').filter((text) => text !== '')) {
    const match = /^([a-z._]+)=(kill9|stop|throw|delay:(\d+))(?:@(\d+))?$/.exec(part.trim());
    const name = match?.[1];
    if (match === null || !FAILPOINTS.some((known) => known === name)) {
      throw new Error(`FAILPOINTS: "${part}" is not <name>=kill9|stop|throw|delay:<ms>[@<hit>]`);
    }
    arming.set(name!, {
      action: (match[2]!.split(':')[0] ?? 'throw') as Arming['action'],
      ms: Number(match[3] ?? 0),
      atHit: Number(match[4] ?? 1),
      hits: 0,
    });
  }
  armed = arming.size === 0 ? null : arming;
  recordFile = record;
}

/**
 * A place where a test can kill, freeze or delay this process, or make it fail. Does nothing unless
 * armed; the calls are removed from production builds.
 * @throws Error `failpoint <name>` when armed with `throw`
 */
export function failpoint(name: FailpointName): void {
  if (armed === null) return;
  const arming = armed.get(name);
  if (arming === undefined) return;
  arming.hits += 1;
  const isDue =
    arming.action === 'delay' ? arming.hits >= arming.atHit : arming.hits === arming.atHit;
  if (isDue) act(name, arming);
}

function act(name: FailpointName, { action, ms }: Arming): void {
  note(name, action);
  if (action === 'throw') throw new Error(`failpoint ${name}`);
  if (action === 'delay') {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    return;
  }
  process.kill(process.pid, action === 'kill9' ? 'SIGKILL' : 'SIGSTOP');
  // A signal to oneself arrives at once or with the next system call: nothing may run in between.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000);
}

function note(name: string, action: string): void {
  if (recordFile === null) return;
  const file = openSync(recordFile, 'a');
  writeSync(file, `${name} ${action}\n`);
  closeSync(file);
}
