import type { ChatScan, Span } from './chat-scan.js';

/** The member that carries the output limit. */
export type OutputLimitMember = 'max_tokens' | 'max_completion_tokens';

/** What the upstream is told otherwise than the client said. */
export interface ChatRewrite {
  /** The model's name at the provider; the client's own when absent. */
  readonly model?: string;
  /** Output limit, tokens, written into whichever member the client used, else into this one. */
  readonly outputLimit?: { readonly tokens: number; readonly member: OutputLimitMember };
  /** Whether `stream_options.include_usage` becomes true, also over an explicit false. */
  readonly injectUsage?: boolean;
}

/** A replacement of one byte range by ASCII text. */
interface Edit extends Span {
  readonly text: string;
}

/**
 * The body for the upstream: the validated spans of the client's body with the rewritten members. No
 * other byte changes: numbers, escapes and the order of members stay as they were.
 * @returns bytes that may share memory with the scanned body
 */
export function rewriteChatRequest(scan: ChatScan, rewrite: ChatRewrite): Buffer {
  const edits: Edit[] = [];
  let appended = '';
  if (rewrite.model !== undefined && rewrite.model !== scan.model) {
    edits.push({ ...scan.modelSpan, text: JSON.stringify(rewrite.model) });
  }
  if (rewrite.outputLimit !== undefined) {
    const { tokens, member } = rewrite.outputLimit;
    const used = outputLimitSpans(scan);
    for (const span of used) edits.push({ ...span, text: String(tokens) });
    if (used.length === 0) appended += `,"${member}":${tokens}`;
  }
  if (rewrite.injectUsage === true && !scan.includeUsage) {
    const edit = usageEdit(scan);
    if (edit === null) appended += ',"stream_options":{"include_usage":true}';
    else edits.push(edit);
  }
  if (appended !== '') {
    // A scanned body has a model, so there is always a member before the closing brace.
    const brace = scan.object.end - 1;
    edits.push({ start: brace, end: brace, text: appended });
  }
  return apply(scan, edits);
}

/** Members that carry an output limit now; one given as null is written only if the other is absent. */
function outputLimitSpans(scan: ChatScan): readonly Span[] {
  const { maxTokensSpan, maxCompletionTokensSpan } = scan;
  const set: Span[] = [];
  if (maxTokensSpan !== null && scan.maxTokens !== null) set.push(maxTokensSpan);
  if (maxCompletionTokensSpan !== null && scan.maxCompletionTokens !== null) {
    set.push(maxCompletionTokensSpan);
  }
  if (set.length > 0) return set;
  const asNull = maxCompletionTokensSpan ?? maxTokensSpan;
  return asNull === null ? [] : [asNull];
}

function usageEdit(scan: ChatScan): Edit | null {
  const { streamOptionsSpan, includeUsageSpan, body } = scan;
  if (includeUsageSpan !== null) return { ...includeUsageSpan, text: 'true' };
  if (streamOptionsSpan === null) return null;
  const { start, end } = streamOptionsSpan;
  if (body[start] !== 0x7b) return { start, end, text: '{"include_usage":true}' };
  // Put first: the separator then depends only on whether anything but white space follows.
  const isEmpty = /^\{\s*\}$/.test(body.toString('latin1', start, Math.min(end, start + 1_024)));
  const text = isEmpty ? '"include_usage":true' : '"include_usage":true,';
  return { start: start + 1, end: start + 1, text };
}

function apply(scan: ChatScan, edits: Edit[]): Buffer {
  const { body, object } = scan;
  if (edits.length === 0) return body.subarray(object.start, object.end);
  edits.sort((a, b) => a.start - b.start);
  let size = object.end - object.start;
  for (const { start, end, text } of edits) size += Buffer.byteLength(text) - (end - start);
  const out = Buffer.allocUnsafe(size);
  let read = object.start;
  let write = 0;
  for (const { start, end, text } of edits) {
    write += body.copy(out, write, read, start);
    write += out.write(text, write);
    read = end;
  }
  body.copy(out, write, read, object.end);
  return out;
}
