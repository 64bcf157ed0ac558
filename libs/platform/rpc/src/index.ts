export * from './http-rpc.transport.js';
export * from './rpc-codec.js';
export * from './rpc.js';
export * from './rpc.routes.js';
