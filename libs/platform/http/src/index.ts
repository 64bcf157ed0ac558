export * from './dialects.js';
export * from './error.filters.js';
export * from './http-app.js';
export * from './http-errors.js';
export * from './operational.routes.js';
export * from './operator-credential.js';
export * from './strict-json.js';
export * from './validation.pipe.js';
