/** The PostgreSQL schemas, one per service plus the event log's own. */
export const SCHEMAS = ['auth', 'proxy', 'metering', 'budget', 'reporting', 'event_log'] as const;

/** The name of a schema. */
export type SchemaName = (typeof SCHEMAS)[number];

/** The NOLOGIN role that owns a schema's rights. */
export function roleOf(schema: SchemaName): string {
  return `tollgate_${schema}`;
}
