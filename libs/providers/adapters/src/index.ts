export * from './undici/undici-transport.js';
