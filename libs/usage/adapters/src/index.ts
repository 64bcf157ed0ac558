export { ClickHouseLedgerUpkeep } from './clickhouse/clickhouse-ledger-upkeep.js';
export * from './clickhouse/clickhouse-usage-reader.js';
export { ClickHouseUsageStore } from './clickhouse/clickhouse-usage-store.js';
export { sumsQuery } from './clickhouse/usage.query.js';
export {
  mergeStateQuery,
  toMergeState,
  type MergeStateRecord,
} from './clickhouse/whole-hours.query.js';
