export * from './open-proxy-spool.js';
export * from './proxy-consumer.js';
export * from './proxy-lifecycle.js';
export * from './proxy-options.js';
export * from './proxy.module.js';
export * from './spool-end.js';
