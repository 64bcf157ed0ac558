import { invalidInput } from './http-errors.js';

/** Deepest nesting of a body. */
const MAX_DEPTH = 64;

/** Names that could reach a prototype. */
const FORBIDDEN_NAMES: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * Reads a management body: JSON, at most 64 levels deep, no repeated name at the top level, no name
 * that could reach a prototype at any depth.
 * @throws AppError `input.invalid` that names what is wrong
 */
export function parseStrictJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalidInput([fault([], 'the body is not valid JSON', 'json_invalid')]);
  }
  checkNames(text);
  return value;
}

/** Walks the tokens of a text that is known to be JSON. */
function checkNames(text: string): void {
  const topLevel = new Set<string>();
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (char === '{' || char === '[') depth += 1;
    else if (char === '}' || char === ']') depth -= 1;
    if (depth > MAX_DEPTH)
      throw invalidInput([fault([], 'the body is nested too deeply', 'depth')]);
    if (char !== '"') continue;
    const end = endOfString(text, at);
    if (isName(text, end))
      checkName(JSON.parse(text.slice(at, end + 1)) as string, depth, topLevel);
    at = end;
  }
}

function checkName(name: string, depth: number, topLevel: Set<string>): void {
  if (FORBIDDEN_NAMES.has(name)) {
    throw invalidInput([fault([name], 'this name is not allowed', 'forbidden_name')]);
  }
  if (depth !== 1) return;
  if (topLevel.has(name)) {
    throw invalidInput([fault([name], 'this member is given twice', 'duplicate')]);
  }
  topLevel.add(name);
}

/** Index of the quote that ends the string beginning at `start`. */
function endOfString(text: string, start: number): number {
  let end = start + 1;
  while (text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  return end;
}

function isName(text: string, endOfText: number): boolean {
  let at = endOfText + 1;
  while (/\s/.test(text[at] ?? 'x')) at += 1;
  return text[at] === ':';
}

function fault(path: readonly string[], message: string, type: string) {
  return { in: 'body' as const, path, message, type };
}
