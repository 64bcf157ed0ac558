import type { ServerResponse } from 'node:http';

import type { Clock } from '#libs/kernel';

import type { StreamFrames } from './answer.js';
import type { Script } from './script.js';

/** Runs work once after a time, milliseconds; not before it is over. */
export function afterMs(timeMs: number, work: () => void): void {
  // The timer counts whole milliseconds, so a fraction is rounded up.
  setTimeout(work, Math.max(0, Math.ceil(timeMs)));
}

/**
 * Writes a stream on a fixed schedule: chunk n leaves at `startedMs + n * chunkIntervalMs`, whatever
 * the delay of the chunks before it, and the end one interval after the last chunk. A caller that
 * left ends it. With an interval of 0 the whole stream is one write.
 * @param startedMs monotonic time of the first chunk
 */
export function writeStream(
  res: ServerResponse,
  frames: StreamFrames,
  script: Script,
  clock: Clock,
  startedMs: number,
): void {
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  const parts = partsOf(frames, script);
  const end = (): void => endStream(res, script, parts.tail);
  if (script.chunkIntervalMs === 0) {
    const text = parts.chunks.map((chunk) => stamped(chunk, script)).join('');
    return void res.write(text, end);
  }
  let sent = 0;
  const next = (): void => {
    if (res.destroyed) return;
    const chunk = parts.chunks[sent];
    if (chunk === undefined) return end();
    res.write(stamped(chunk, script));
    sent += 1;
    afterMs(startedMs + sent * script.chunkIntervalMs - clock.monotonicMs(), next);
  };
  next();
}

interface StreamParts {
  readonly chunks: readonly string[];
  /** Null when the stream does not end well. */
  readonly tail: string | null;
}

/** The writes of a stream; a fault in mid-stream leaves out what would follow it. */
function partsOf(frames: StreamFrames, script: Script): StreamParts {
  const { fault, cutAfterChunks } = script;
  const [first = '', ...rest] = frames.chunks;
  const isBroken =
    fault === 'cut_mid_stream' || fault === 'hang_mid_stream' || fault === 'error_mid_stream';
  if (isBroken) {
    const chunks = [frames.head, ...frames.chunks.slice(0, cutAfterChunks)];
    if (fault !== 'error_mid_stream') return { chunks, tail: null };
    const message = 'The server had an error while processing your request';
    const error = JSON.stringify({ error: { message, type: 'server_error', param: null } });
    return { chunks, tail: `data: ${error}\n\n` };
  }
  if (fault === 'malformed') {
    return { chunks: [frames.head, 'data: {"id":"chatcmpl-sim","object":\n\n'], tail: frames.tail };
  }
  return { chunks: [frames.head + first, ...rest], tail: frames.tail };
}

function endStream(res: ServerResponse, script: Script, tail: string | null): void {
  if (tail !== null) return void res.end(tail);
  if (script.fault === 'cut_mid_stream') res.destroy();
}

/** Puts the wall time, microseconds since 1970, into each event of a chunk when it is asked for. */
function stamped(chunk: string, script: Script): string {
  if (!script.isStamped) return chunk;
  const sentAtUs = Math.round((performance.timeOrigin + performance.now()) * 1000);
  return chunk.replaceAll('data: {', `data: {"sent_at_us":${sentAtUs},`);
}
