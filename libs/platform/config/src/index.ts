export * from './env-variable.js';
export * from './environment.js';
export * from './kafka.config.js';
export * from './load-config.js';
export * from './project-root.js';
export * from './service.config.js';
