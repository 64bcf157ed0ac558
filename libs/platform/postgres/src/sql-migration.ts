import { AppError } from '#libs/kernel';
import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Digits that TypeORM reads at the end of a migration's name; it sorts by them. */
const ORDER_DIGITS = 13;

/**
 * A migration of one schema as plain SQL. A subclass states its number (from 1, unique and rising in
 * the schema), a title in snake_case and the statements, which run in one transaction with the
 * schema as search path. Forward only.
 */
export abstract class SqlMigration implements MigrationInterface {
  abstract readonly number: number;
  abstract readonly title: string;
  abstract readonly sql: string;

  /** Title and number in the form in which the migration table keeps them. */
  get name(): string {
    return `${this.title}${String(this.number).padStart(ORDER_DIGITS, '0')}`;
  }

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(this.sql);
  }

  /** @throws AppError `postgres.forward_only` always */
  async down(): Promise<void> {
    throw new AppError({
      code: 'postgres.forward_only',
      kind: 'internal',
      publicMessage: 'internal error',
      internalMessage: `migration ${this.name} cannot be undone; write the next one`,
    });
  }
}
