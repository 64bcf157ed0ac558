import { CreateBudget } from './0001_create_budget.js';

/** Migrations of schema `budget`, in order. */
export const BUDGET_MIGRATIONS = [CreateBudget];
