import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';

import { AppError } from '#libs/kernel';

import { renderError } from './dialects.js';

/** What the parser says of a request it gave up on, by the code of its error. */
const FAULTS: Readonly<Record<string, { readonly status: number; readonly message: string }>> = {
  HPE_HEADER_OVERFLOW: { status: 431, message: 'the head of the request is too large' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, message: 'the request did not arrive in time' },
};

const MALFORMED = { status: 400, message: 'the request is not valid HTTP, or ended too early' };

/**
 * Answers a request that never became one: bytes that are no HTTP, a head too large, a body that was
 * cut off. No route is known yet, so the body is the openai envelope, which carries `detail` as well.
 * @param requestId shown in `x-request-id`
 */
export function answerClientError(error: Error, socket: Socket, requestId: string): void {
  const code: unknown = Reflect.get(error, 'code');
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const { status, message } = (typeof code === 'string' ? FAULTS[code] : undefined) ?? MALFORMED;
  const fault = new AppError({
    code: 'http.malformed',
    kind: 'invalid',
    publicMessage: message,
    details: { status },
  });
  const { body, contentType } = renderError('openai', fault, requestId);
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n` +
      `content-type: ${contentType}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `x-request-id: ${requestId}\r\nconnection: close\r\n\r\n${body}`,
  );
}
