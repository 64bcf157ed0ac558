import { BudgetDefinitionEntity } from './budget-definition.entity.js';

export * from './budget-notice.mapping.js';
export * from './postgres-budget-definition.store.js';
export * from './postgres-budget-state.store.js';

/** Entity classes of budget definitions, for the data source of schema `auth`. */
export const BUDGET_DEFINITION_ENTITIES = [BudgetDefinitionEntity] as const;
