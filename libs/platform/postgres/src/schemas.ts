/** The PostgreSQL schemas: one per service, the event log's own, and that of the job queues. */
export const SCHEMAS = [
  'auth',
  'proxy',
  'metering',
  'budget',
  'reporting',
  'event_log',
  'jobs',
] as const;

/** The name of a schema. */
export type SchemaName = (typeof SCHEMAS)[number];

/** The NOLOGIN role that owns a schema's rights. */
export function roleOf(schema: SchemaName): string {
  return `tollgate_${schema}`;
}
