export { ReportingModule, type ReportingOptions } from './reporting.module.js';
