export * from './budget-enforcer-options.js';
export * from './budget-enforcer.consumer.js';
export * from './budget-enforcer.module.js';
