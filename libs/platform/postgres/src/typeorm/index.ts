export * from './column-transformers.js';
export * from './service-data-source.js';
export * from './service-data-source.module.js';
