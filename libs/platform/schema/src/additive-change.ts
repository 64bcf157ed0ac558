import { isDeepStrictEqual } from 'node:util';

/** A JSON Schema as parsed. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * Marks an `enum` whose words may become more: readers park or pass on a word they do not know, and
 * never take it for another.
 */
export const OPEN_ENUM = 'x-open-enum';

/** Keywords that say nothing about a value. */
const ANNOTATIONS: ReadonlySet<string> = new Set(['title', 'description', '$comment', 'examples']);
/** Keywords whose value is a schema per name. */
const SCHEMAS_BY_NAME: ReadonlySet<string> = new Set(['properties', '$defs']);

/**
 * How a schema differs from its released form beyond an additive change: `<JSON pointer>: <what>`
 * each. Additive are optional members, definitions, and words of an `x-open-enum`. A looser rule is
 * as wrong as a tighter one: readers of the released form rely on it.
 */
export function breakingChanges(
  released: JsonSchema,
  current: JsonSchema,
  at = '',
): readonly string[] {
  const names = new Set([...Object.keys(released), ...Object.keys(current)]);
  return [...names]
    .filter((name) => !ANNOTATIONS.has(name))
    .flatMap((name) => keywordChanges(name, released, current, `${at}/${name}`));
}

function keywordChanges(
  name: string,
  released: JsonSchema,
  current: JsonSchema,
  at: string,
): readonly string[] {
  const [before, after] = [released[name], current[name]];
  if (SCHEMAS_BY_NAME.has(name)) return namedChanges(asSchema(before), asSchema(after), at);
  if (isDeepStrictEqual(before, after)) return [];
  if (before === undefined) return [`${at}: is new and narrows what was allowed`];
  if (after === undefined) return [`${at}: is gone`];
  if (name === 'enum' && released[OPEN_ENUM] === true) return lostWords(before, after, at);
  if (isSchema(before) && isSchema(after)) return breakingChanges(before, after, at);
  return [`${at}: is not what was released`];
}

/** A name that is new is optional, because `required` cannot change. */
function namedChanges(before: JsonSchema, after: JsonSchema, at: string): readonly string[] {
  return Object.entries(before).flatMap(([name, schema]) => {
    const now = after[name];
    if (isSchema(schema) && isSchema(now)) return breakingChanges(schema, now, `${at}/${name}`);
    return isDeepStrictEqual(schema, now) ? [] : [`${at}/${name}: was removed or replaced`];
  });
}

function lostWords(before: unknown, after: unknown, at: string): readonly string[] {
  const words = new Set(after as readonly unknown[]);
  return (before as readonly unknown[])
    .filter((word) => !words.has(word))
    .map((word) => `${at}: no longer has ${String(word)}`);
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function asSchema(value: unknown): JsonSchema {
  return isSchema(value) ? value : {};
}
