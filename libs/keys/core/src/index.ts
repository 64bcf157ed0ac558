export * from './ports/key-directory.port.js';
