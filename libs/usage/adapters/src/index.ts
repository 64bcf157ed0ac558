export { ClickHouseLedgerUpkeep } from './clickhouse/clickhouse-ledger-upkeep.js';
export * from './clickhouse/clickhouse-usage-reader.js';
export { ClickHouseUsageStore } from './clickhouse/clickhouse-usage-store.js';
export {
  mergeStateQuery,
  sumsQuery,
  toMergeState,
  type MergeStateRecord,
} from './clickhouse/usage.query.js';
