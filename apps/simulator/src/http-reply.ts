import type { IncomingMessage, ServerResponse } from 'node:http';

/** Answers with a JSON text in one write. */
export function sendJson(res: ServerResponse, status: number, text: string): void {
  res.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  res.end(text);
}

/**
 * Reads a body to its end.
 * @param limitBytes most bytes accepted
 * @param done gets the body, `'too_large'`, or is never called when the caller left before the end
 */
export function readBody(
  req: IncomingMessage,
  limitBytes: number,
  done: (body: Buffer | 'too_large') => void,
): void {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  req.on('data', (chunk: Buffer) => {
    sizeBytes += chunk.length;
    if (sizeBytes <= limitBytes) chunks.push(chunk);
  });
  req.on('end', () => done(sizeBytes > limitBytes ? 'too_large' : Buffer.concat(chunks)));
  // A caller that leaves in mid-body has sent no request; there is nothing to answer or to bill.
  req.on('error', () => chunks.splice(0));
}
