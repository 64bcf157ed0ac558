import { AuditEventEntity } from './postgres/audit-event.entity.js';
import { IdempotentAnswerEntity } from './postgres/idempotent-answer.entity.js';
import { KeyDigestEntity } from './postgres/key-digest.entity.js';
import { VirtualKeyEntity } from './postgres/virtual-key.entity.js';

export * from './postgres/audit-trail.js';
export * from './postgres/idempotent-answers.js';
export * from './postgres/postgres-key.store.js';

/** Entity classes of this lib, for the data source of schema `auth`. */
export const KEY_ENTITIES = [
  VirtualKeyEntity,
  KeyDigestEntity,
  AuditEventEntity,
  IdempotentAnswerEntity,
] as const;
