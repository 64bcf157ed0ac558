import type { UpstreamHeaders } from '#libs/providers/core';

/** Headers of an answer that are passed through. */
const PASSED_HEADERS = [
  'openai-processing-ms',
  'openai-version',
  'openai-organization',
  'request-id',
] as const;

/** The headers that callers see of an upstream's answer, names and values in turn. */
export function passedHeaders(headers: UpstreamHeaders): string[] {
  const passed: string[] = [];
  for (const name of PASSED_HEADERS) {
    const value = headers[name];
    if (typeof value === 'string') passed.push(name, value);
  }
  return passed;
}
