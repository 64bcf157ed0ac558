import type { IncomingMessage } from 'node:http';

/** Largest body of a data-plane request, bytes. */
export const MAX_BODY_BYTES = 10 * 1024 * 1024;

/** A whole body, or why there is none: above the bound, or the connection ended before the body. */
export type BodyOutcome = Buffer | 'too_large' | 'cut';

/**
 * What is read and dropped of a body above the bound before it is refused, bytes. A client that still
 * writes when the answer comes may see a broken connection in place of the answer.
 */
const MAX_DROPPED_BYTES = 64 * 1024 * 1024;
/** Longest time a body above the bound is read on, milliseconds. */
const DROP_MS = 10_000;

/** Reads a body within its bound; what comes above it is dropped, and refused once it has come. */
export function readBody(req: IncomingMessage): Promise<BodyOutcome> {
  if (Number(req.headers['content-length'] ?? 0) > MAX_DROPPED_BYTES) {
    return Promise.resolve('too_large');
  }
  return new Promise((resolve) => {
    let first: Buffer | null = null;
    let rest: Buffer[] | null = null;
    let size = 0;
    let timer: NodeJS.Timeout | undefined;
    const end = (outcome: BodyOutcome): void => {
      clearTimeout(timer);
      resolve(outcome);
    };
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_BODY_BYTES) {
        rest = [];
        timer ??= setTimeout(() => end('too_large'), DROP_MS);
        if (size > MAX_DROPPED_BYTES) end('too_large');
      } else if (first === null) first = chunk;
      else (rest ??= [first]).push(chunk);
    });
    req.on('end', () => {
      if (size > MAX_BODY_BYTES) return end('too_large');
      end(rest === null ? (first ?? Buffer.alloc(0)) : Buffer.concat(rest));
    });
    req.on('close', () => end('cut'));
    req.on('error', () => end('cut'));
  });
}
