export * from './metering-consumer.js';
export * from './metering-options.js';
export * from './metering.module.js';
