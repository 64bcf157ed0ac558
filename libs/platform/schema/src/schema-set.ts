import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';

import { OPEN_ENUM, type JsonSchema } from './additive-change.js';

/** The end of a schema's file name. */
const SCHEMA_SUFFIX = '.schema.json';

/**
 * JSON Schemas (2020-12) that may refer to each other by `$id`, compiled once. Strict: an unknown
 * keyword is an error of the schema. There are no formats; forms are patterns.
 */
export class SchemaSet {
  private readonly compiled = new Map<string, ValidateFunction>();

  /** @throws Error naming the schema that is malformed or refers to one that is not in the set */
  constructor(schemas: Iterable<JsonSchema>) {
    const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, allErrors: true });
    ajv.addKeyword({ keyword: OPEN_ENUM, schemaType: 'boolean' });
    const ids: string[] = [];
    for (const schema of schemas) {
      ajv.addSchema(schema);
      ids.push(String(schema['$id']));
    }
    for (const id of ids) this.compiled.set(id, ajv.getSchema(id)!);
  }

  /** Every `$id`, in the order given. */
  get ids(): readonly string[] {
    return [...this.compiled.keys()];
  }

  /**
   * What is wrong with a value: `<JSON pointer>: <reason>` each, empty when it conforms.
   * @throws Error when no schema has that id
   */
  faultsOf(id: string, value: unknown): readonly string[] {
    const validate = this.compiled.get(id);
    if (validate === undefined) throw new Error(`there is no schema ${id}`);
    return validate(value) ? [] : (validate.errors ?? []).map(faultOf);
  }
}

function faultOf({ instancePath, message }: ErrorObject): string {
  return `${instancePath === '' ? '/' : instancePath}: ${message ?? 'does not conform'}`;
}

/** The schemas of a folder, not of folders below it, by file name without `.schema.json`. */
export function readSchemas(folder: string): ReadonlyMap<string, JsonSchema> {
  const files = readdirSync(folder).filter((file) => file.endsWith(SCHEMA_SUFFIX));
  return new Map(
    files
      .toSorted()
      .map((file) => [
        file.slice(0, -SCHEMA_SUFFIX.length),
        JSON.parse(readFileSync(join(folder, file), 'utf8')) as JsonSchema,
      ]),
  );
}
