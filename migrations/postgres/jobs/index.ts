import { CreateJobs } from './0001_create_jobs.js';

/** Migrations of schema `jobs`, in order. */
export const JOBS_MIGRATIONS = [CreateJobs];
