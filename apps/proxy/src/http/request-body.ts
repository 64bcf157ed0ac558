import type { IncomingMessage } from 'node:http';

/** Largest body of a data-plane request, bytes. */
export const MAX_BODY_BYTES = 10 * 1024 * 1024;

/** A whole body, or why there is none: above the bound, or the connection ended before the body. */
export type BodyOutcome = Buffer | 'too_large' | 'cut';

/** Reads a body within its bound; a body that announces too much is refused before a byte is read. */
export function readBody(req: IncomingMessage): Promise<BodyOutcome> {
  const announced = req.headers['content-length'];
  if (announced !== undefined && Number(announced) > MAX_BODY_BYTES) {
    return Promise.resolve('too_large');
  }
  return new Promise((resolve) => {
    let first: Buffer | null = null;
    let rest: Buffer[] | null = null;
    let size = 0;
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_BODY_BYTES) {
        req.removeAllListeners('data');
        // What still comes is read and dropped by the server once the refusal is out.
        resolve('too_large');
      } else if (first === null) first = chunk;
      else (rest ??= [first]).push(chunk);
    });
    req.on('end', () => resolve(rest === null ? (first ?? Buffer.alloc(0)) : Buffer.concat(rest)));
    req.on('close', () => resolve('cut'));
    req.on('error', () => resolve('cut'));
  });
}
