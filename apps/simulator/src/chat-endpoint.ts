import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

import { toRfc3339, type Clock } from '#libs/kernel';

import { renderError, renderPlain, renderStream } from './answer.js';
import type { BillLog } from './bill-log.js';
import { planCompletion, RequestError, type CompletionPlan } from './completion-plan.js';
import { readBody, sendJson } from './http-reply.js';
import { afterMs, writeStream } from './stream-writer.js';

/** Largest request body, bytes. */
const BODY_LIMIT_BYTES = 32 * 1024 * 1024;

/** Rendered plain answers kept; equal plans have equal bytes. */
const CACHED_ANSWERS = 1_000;

/**
 * `POST /v1/chat/completions`. Each attempt is logged when its request is complete and when it is
 * billed, both before its first byte is answered; what is billed does not depend on whether the
 * caller stays.
 */
export class ChatEndpoint {
  private readonly rendered = new Map<string, string>();

  constructor(
    private readonly log: BillLog,
    private readonly clock: Clock,
  ) {}

  /** Takes over one request; never throws. */
  handle(req: IncomingMessage, res: ServerResponse): void {
    res.on('error', () => res.destroy());
    readBody(req, BODY_LIMIT_BYTES, (body) => {
      if (body === 'too_large') {
        return sendJson(res, 413, renderError(413, 'the request is too large', null));
      }
      this.receive(req, res, body);
    });
  }

  private receive(req: IncomingMessage, res: ServerResponse, body: Buffer): void {
    const startedMs = this.clock.monotonicMs();
    const attemptId = attemptIdOf(req);
    let plan: CompletionPlan;
    try {
      plan = planCompletion(body);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      this.logReceived(req, null);
      this.logBilled(attemptId, null, 400);
      return sendJson(res, 400, renderError(400, error.message, error.param));
    }
    this.logReceived(req, plan);
    const { latencyMs } = plan.script;
    if (latencyMs === 0) return this.answer(res, plan, attemptId, startedMs);
    const dueMs = startedMs + latencyMs;
    afterMs(latencyMs, () => this.answer(res, plan, attemptId, dueMs));
  }

  private answer(
    res: ServerResponse,
    plan: CompletionPlan,
    attemptId: string | null,
    startedMs: number,
  ): void {
    const { status, error, fault } = plan.script;
    this.logBilled(attemptId, plan, status);
    if (res.destroyed || fault === 'hang') return;
    if (fault === 'cut_before_headers') return void res.socket?.resetAndDestroy();
    if (status >= 400) {
      const message = error ?? `the simulator was asked for status ${status}`;
      return sendJson(res, status, renderError(status, message, null));
    }
    if (plan.isStream) {
      return writeStream(res, renderStream(plan), plan.script, this.clock, startedMs);
    }
    const text = this.plainText(plan);
    if (fault === 'cut_mid_stream' || fault === 'hang_mid_stream') {
      return sendHalf(res, text, fault === 'cut_mid_stream');
    }
    return sendJson(res, status, text);
  }

  private plainText(plan: CompletionPlan): string {
    const { script, model, seed, inputTokens, outputTokens, cachedTokens, isCut } = plan;
    const fault = script.fault ?? '';
    const parts = [seed, inputTokens, outputTokens, cachedTokens, isCut, fault, model];
    const key = parts.join(' ');
    const known = this.rendered.get(key);
    if (known !== undefined) return known;
    const text = renderPlain(plan);
    if (this.rendered.size >= CACHED_ANSWERS) this.rendered.clear();
    this.rendered.set(key, text);
    return text;
  }

  private logReceived(req: IncomingMessage, plan: CompletionPlan | null): void {
    this.log.append({
      line: 'received',
      attempt_id: attemptIdOf(req),
      received_at: toRfc3339(this.clock.nowMs()),
      model: plan?.model ?? null,
      stream: plan?.isStream ?? false,
      headers: shownHeaders(req),
    });
  }

  private logBilled(attemptId: string | null, plan: CompletionPlan | null, status: number): void {
    const isFree = plan === null || status >= 400;
    this.log.append({
      line: 'billed',
      attempt_id: attemptId,
      billed_input: isFree ? 0 : plan.inputTokens,
      billed_output: isFree ? 0 : plan.outputTokens,
      billed_cached: isFree ? 0 : plan.cachedTokens,
      status,
    });
  }
}

function attemptIdOf(req: IncomingMessage): string | null {
  const value = req.headers['x-client-request-id'];
  return typeof value === 'string' ? value : null;
}

/** Headers for the log; a credential is shown by its digest, so that the log holds no secret. */
function shownHeaders(req: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(req.headers).map(([name, value]) => {
      const text = Array.isArray(value) ? value.join(', ') : (value ?? '');
      if (name !== 'authorization' && name !== 'x-api-key') return [name, text];
      return [name, `sha256:${createHash('sha256').update(text).digest('hex')}`];
    }),
  );
}

/** The first half of an answer whose length was promised whole; then the end, or silence. */
function sendHalf(res: ServerResponse, text: string, isCut: boolean): void {
  const bytes = Buffer.from(text);
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': bytes.length });
  res.write(bytes.subarray(0, bytes.length >> 1), () => {
    if (isCut) res.destroy();
  });
}
