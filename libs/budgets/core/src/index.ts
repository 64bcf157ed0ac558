export * from './exhaustion.js';
export * from './ports/budget-authority.port.js';
