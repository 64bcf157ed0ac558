export * from './metering-consumer.js';
export * from './metering-options.js';
export * from './metering.module.js';
export { openSink, type SinkParts, type UsageSink } from './sink/open-sink.js';
export { PriceCopies, type PriceSource } from './sink/price-copies.js';
export { BatchSink } from './sink/batch-sink.js';
export { MeteringOwner } from './sink/metering-owner.js';
