export * from './domain/key-format.js';
export * from './domain/peppers.js';
export * from './ports/key-directory.port.js';
