export * from './domain/key-format.js';
export * from './domain/key-status.js';
export * from './domain/key-validation.js';
export * from './domain/key.decider.js';
export * from './domain/model-allow-list.js';
export * from './domain/peppers.js';
export * from './domain/virtual-key.js';
export * from './ports/key-directory.port.js';
