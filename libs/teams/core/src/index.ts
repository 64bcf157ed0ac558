export * from './label.js';
export * from './team.decider.js';
export * from './time-window.js';
