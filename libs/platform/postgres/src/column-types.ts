import { types, type CustomTypesConfig } from 'pg';

/** Object ids of the built-in types whose default form in the driver would lose digits or zone. */
const INT8 = 20;
const BYTEA = 17;
const DATE = 1082;
const TIMESTAMP = 1114;

const identity = (value: string): string => value;

function parseBinary(oid: number): ((value: Buffer) => unknown) | undefined {
  if (oid === INT8) return (value) => value.readBigInt64BE(0);
  if (oid === BYTEA) return (value) => value;
  return undefined;
}

function parseText(oid: number): ((value: string) => unknown) | undefined {
  if (oid === INT8) return (value) => BigInt(value);
  // The driver would read both in the zone of the machine.
  if (oid === DATE || oid === TIMESTAMP) return identity;
  return undefined;
}

/** Column values as `Queryable` promises them; `numeric` is text by the driver's own default. */
export const columnTypes: CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    (format === 'binary' ? parseBinary(oid) : parseText(oid)) ??
    types.getTypeParser(oid, format as 'text')) as CustomTypesConfig['getTypeParser'],
};
