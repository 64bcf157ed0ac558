export * from './auth-options.js';
export * from './auth.consumer.js';
export * from './auth.module.js';
export * from './catalog/load-catalog.js';
