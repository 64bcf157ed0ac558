import { types, type CustomTypesConfig } from 'pg';

/** Object ids of the built-in types whose default form in the driver would lose digits or zone. */
const INT8 = 20;
const DATE = 1082;
const TIMESTAMP = 1114;

const parsers: Readonly<Record<number, (value: string) => unknown>> = {
  [INT8]: (value) => BigInt(value),
  // The driver would read both in the zone of the machine.
  [DATE]: (value) => value,
  [TIMESTAMP]: (value) => value,
};

/**
 * Column values as `Queryable` promises them; `numeric` is text by the driver's own default. Always
 * in text form: the driver reads every field as UTF-8, which destroys binary results.
 */
export const columnTypes: CustomTypesConfig = {
  getTypeParser: ((oid: number) =>
    parsers[oid] ?? types.getTypeParser(oid, 'text')) as CustomTypesConfig['getTypeParser'],
};
