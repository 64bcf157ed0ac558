import { CreateEventLog } from './0001_create_event_log.js';
import { CreateLogGroups } from './0002_create_log_groups.js';
import { RetireRecords } from './0003_retire_records.js';

/** Migrations of schema `event_log`, in order. */
export const EVENT_LOG_MIGRATIONS = [CreateEventLog, CreateLogGroups, RetireRecords];
