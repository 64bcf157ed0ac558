import type { Client } from 'pg';
import { EventSubscriber, type AfterQueryEvent, type EntitySubscriberInterface } from 'typeorm';

import { sqlState } from '../database.js';

/**
 * Ends a connection whose statement failed without a word of the server. TypeORM returns connections
 * to the pool whatever became of their statements, so a silent one would be handed out again, and the
 * rollback on it would wait as long as the statement did.
 */
@EventSubscriber()
export class UnansweredStatements implements EntitySubscriberInterface {
  /** Called by TypeORM after every statement, before whoever asked is told. */
  async afterQuery({ success, error, queryRunner }: AfterQueryEvent): Promise<void> {
    if (success || sqlState(error) !== null) return;
    const client = (await queryRunner.connect()) as Client;
    // Not waited for: nobody says when a silent connection has ended. The pool drops it at its release.
    void client.end();
  }
}
