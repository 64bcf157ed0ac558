import {
  Inject,
  Module,
  type DynamicModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';

import {
  BUDGET_DEFINITION_ENTITIES,
  PostgresBudgetDefinitionStore,
  PostgresBudgetStateStore,
} from '#libs/budgets/adapters';
import { BUDGET_AUTHORITY_METHODS, BUDGET_SERVICE, type BudgetAuthority } from '#libs/budgets/core';
import { messageOf, type AppError } from '#libs/kernel';
import { IdempotentAnswers, KEY_ENTITIES, PostgresKeyStore } from '#libs/keys/adapters';
import { KEY_DIRECTORY_METHODS, KEY_DIRECTORY_SERVICE } from '#libs/keys/core';
import {
  DEAD_LETTER_DESK_METHODS,
  DeadLetterDesk,
  OutboxRelay,
  OutboxWriter,
  PartitionPositions,
  ServiceDataSource,
  ServiceDataSourceModule,
} from '#libs/platform/postgres';
import { rpcClient, rpcService } from '#libs/platform/rpc';
import { PostgresPriceBookStore, PRICE_ENTITIES } from '#libs/pricing/adapters';
import { PRICE_DIRECTORY_METHODS } from '#libs/pricing/core';
import { PostgresTeamStore, TEAM_ENTITIES } from '#libs/teams/adapters';
import { KEY_ACTIVITY_METHODS, type UsageReader } from '#libs/usage/core';

import { AUTH_OPTIONS, type AuthOptions } from './auth-options.js';
import { AuthUpkeepWorker } from './auth-upkeep.worker.js';
import { BudgetReconcilerWorker } from './budget-reconciler.worker.js';
import { ApplyControlBatch } from './consumers/apply-control-batch.use-case.js';
import { ControlConsumer } from './consumers/control.consumer.js';
import { AuthKeyDirectory } from './directory/auth-key-directory.js';
import { AuthPriceDirectory } from './directory/auth-price-directory.js';
import { BudgetsController } from './http/budgets.controller.js';
import { IdempotentRoutes } from './http/idempotency.js';
import { KeysController } from './http/keys.controller.js';
import { PricingController } from './http/pricing.controller.js';
import { TeamsController } from './http/teams.controller.js';
import { ValidateKeyController } from './http/validate-key.controller.js';
import { BudgetChanges } from './use-cases/budget-changes.js';
import { ChangeKey } from './use-cases/change-key.use-case.js';
import { ControlJournal } from './use-cases/control-journal.js';
import { CreateKey } from './use-cases/create-key.use-case.js';
import { EditBudgets } from './use-cases/edit-budget.use-case.js';
import { LiveFigures } from './use-cases/live-figures.js';
import { PublishPrices } from './use-cases/publish-prices.use-case.js';
import { ReconcileBudgets } from './use-cases/reconcile-budgets.use-case.js';
import { RotateKey } from './use-cases/rotate-key.use-case.js';
import { CreateTeam, ReadTeams } from './use-cases/teams.use-case.js';
import { ValidateKey } from './use-cases/validate-key.use-case.js';

/** Names of the services auth asks and offers. */
const PRICE_SERVICE = 'auth.prices';
const DEAD_LETTER_SERVICE = 'auth.dead-letters';
const ACTIVITY_SERVICE = 'reporting.activity';

type Constructor<T> = abstract new (...args: never[]) => T;

/** A provider built from others by a function. */
function provide<T, Deps extends unknown[]>(
  token: Constructor<T>,
  inject: { [Index in keyof Deps]: Constructor<Deps[Index]> },
  useFactory: (...deps: Deps) => T,
): Provider {
  return { provide: token, inject: [...inject], useFactory };
}

function storeProviders(): Provider[] {
  const stores = [
    PostgresKeyStore,
    PostgresTeamStore,
    PostgresBudgetDefinitionStore,
    PostgresPriceBookStore,
    IdempotentAnswers,
  ];
  return [
    ...stores.map((Store) =>
      provide<object, [ServiceDataSource]>(
        Store,
        [ServiceDataSource],
        (source) => new Store(() => source.manager),
      ),
    ),
    { provide: PostgresBudgetStateStore, useValue: new PostgresBudgetStateStore() },
  ];
}

function useCaseProviders(options: AuthOptions): Provider[] {
  const { clock, random, logger } = options.runtime;
  const authority = rpcClient<BudgetAuthority>(
    options.rpc,
    BUDGET_SERVICE,
    BUDGET_AUTHORITY_METHODS,
  );
  const activity = rpcClient<Pick<UsageReader, 'activityOf'>>(
    options.rpc,
    ACTIVITY_SERVICE,
    KEY_ACTIVITY_METHODS,
  );
  return [
    provide(ControlJournal, [OutboxWriter], (outbox: OutboxWriter) => {
      return new ControlJournal(outbox, clock, random);
    }),
    provide(
      LiveFigures,
      [PostgresBudgetDefinitionStore],
      (budgets: PostgresBudgetDefinitionStore) =>
        new LiveFigures(budgets, authority, activity, clock),
    ),
    provide(
      BudgetChanges,
      [PostgresBudgetDefinitionStore, ControlJournal],
      (store: PostgresBudgetDefinitionStore, journal: ControlJournal) =>
        new BudgetChanges(store, journal, authority, clock, random, logger),
    ),
    ...keyProviders(options),
    provide(
      CreateTeam,
      [ServiceDataSource, PostgresTeamStore, ControlJournal],
      (source: ServiceDataSource, teams: PostgresTeamStore, journal: ControlJournal) =>
        new CreateTeam(source, teams, journal, clock, random),
    ),
    provide(
      ReadTeams,
      [PostgresTeamStore, PostgresKeyStore],
      (teams: PostgresTeamStore, keys: PostgresKeyStore) => new ReadTeams(teams, keys, clock),
    ),
    {
      provide: EditBudgets,
      inject: [
        ServiceDataSource,
        PostgresBudgetDefinitionStore,
        BudgetChanges,
        PostgresKeyStore,
        PostgresTeamStore,
      ],
      useFactory: (
        source: ServiceDataSource,
        store: PostgresBudgetDefinitionStore,
        changes: BudgetChanges,
        keys: PostgresKeyStore,
        teams: PostgresTeamStore,
      ) => new EditBudgets(source, store, changes, keys, teams, authority),
    },
    provide(
      PublishPrices,
      [ServiceDataSource, PostgresPriceBookStore, ControlJournal],
      (source: ServiceDataSource, store: PostgresPriceBookStore, journal: ControlJournal) =>
        new PublishPrices(source, store, journal, clock, logger),
    ),
  ];
}

function keyProviders({ runtime, peppers }: AuthOptions): Provider[] {
  const { clock, random } = runtime;
  return [
    provide(IdempotentRoutes, [IdempotentAnswers], (answers: IdempotentAnswers) => {
      return new IdempotentRoutes(answers, clock);
    }),
    {
      provide: CreateKey,
      inject: [
        ServiceDataSource,
        PostgresKeyStore,
        PostgresTeamStore,
        BudgetChanges,
        LiveFigures,
        ControlJournal,
      ],
      useFactory: (
        source: ServiceDataSource,
        keys: PostgresKeyStore,
        teams: PostgresTeamStore,
        budgets: BudgetChanges,
        figures: LiveFigures,
        journal: ControlJournal,
      ) => new CreateKey(source, keys, teams, budgets, figures, journal, peppers, clock, random),
    },
    {
      provide: ChangeKey,
      inject: [ServiceDataSource, PostgresKeyStore, BudgetChanges, LiveFigures, ControlJournal],
      useFactory: (
        source: ServiceDataSource,
        keys: PostgresKeyStore,
        budgets: BudgetChanges,
        figures: LiveFigures,
        journal: ControlJournal,
      ) => new ChangeKey(source, keys, budgets, figures, journal, clock),
    },
    provide(
      ValidateKey,
      [PostgresKeyStore, LiveFigures],
      (keys: PostgresKeyStore, figures: LiveFigures) =>
        new ValidateKey(keys, figures, peppers, clock),
    ),
    {
      provide: RotateKey,
      inject: [ServiceDataSource, PostgresKeyStore, LiveFigures, ControlJournal],
      useFactory: (
        source: ServiceDataSource,
        keys: PostgresKeyStore,
        figures: LiveFigures,
        journal: ControlJournal,
      ) => new RotateKey(source, keys, figures, journal, peppers, clock, random),
    },
  ];
}

function directoryProviders(options: AuthOptions): Provider[] {
  const { database, catalog, runtime } = options;
  return [
    provide(
      AuthKeyDirectory,
      [PostgresKeyStore, PostgresBudgetDefinitionStore, PostgresBudgetStateStore],
      (
        keys: PostgresKeyStore,
        budgets: PostgresBudgetDefinitionStore,
        states: PostgresBudgetStateStore,
      ) => new AuthKeyDirectory(keys, budgets, states, database, catalog, runtime.clock),
    ),
    provide(AuthPriceDirectory, [PostgresPriceBookStore], (store: PostgresPriceBookStore) => {
      return new AuthPriceDirectory(store);
    }),
    provide(ApplyControlBatch, [PostgresBudgetStateStore], (states: PostgresBudgetStateStore) => {
      return new ApplyControlBatch(database, new PartitionPositions(), states);
    }),
  ];
}

function workerProviders({ database, rpc, runtime }: AuthOptions): Provider[] {
  const { clock, logger, metrics } = runtime;
  const authority = rpcClient<BudgetAuthority>(rpc, BUDGET_SERVICE, BUDGET_AUTHORITY_METHODS);
  return [
    {
      provide: AuthUpkeepWorker,
      useValue: new AuthUpkeepWorker({ database, clock, logger }),
    },
    provide(
      BudgetReconcilerWorker,
      [PostgresBudgetDefinitionStore, PostgresBudgetStateStore],
      (definitions: PostgresBudgetDefinitionStore, states: PostgresBudgetStateStore) => {
        const onRefused = (budgetId: string, error: AppError): void =>
          logger.error({ budgetId, reason: messageOf(error) }, 'the authority refuses a budget');
        const parts = { database, definitions, states, authority, clock, onRefused };
        const reconcile = new ReconcileBudgets(parts);
        return new BudgetReconcilerWorker({ reconcile, clock, metrics, logger });
      },
    ),
  ];
}

function outboxProviders({ database, runtime, eventLog }: AuthOptions): Provider[] {
  return [
    { provide: OutboxWriter, useValue: new OutboxWriter() },
    provide(OutboxRelay, [OutboxWriter], (writer: OutboxWriter) => {
      const { random, logger } = runtime;
      const append: ConstructorParameters<typeof OutboxRelay>[0]['append'] = (records) =>
        eventLog.append(records);
      return new OutboxRelay({ database, service: 'auth', writer, append, random, logger });
    }),
  ];
}

/**
 * The control plane: keys, teams, budget definitions, prices and catalogue. Everything it provides
 * stays inside the module.
 */
@Module({})
export class AuthModule implements OnModuleInit, OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    @Inject(AUTH_OPTIONS) private readonly options: AuthOptions,
    private readonly keyDirectory: AuthKeyDirectory,
    private readonly priceDirectory: AuthPriceDirectory,
    private readonly publishPrices: PublishPrices,
    private readonly createTeam: CreateTeam,
    private readonly relay: OutboxRelay,
    private readonly control: ApplyControlBatch,
    private readonly reconciler: BudgetReconcilerWorker,
    private readonly upkeep: AuthUpkeepWorker,
    private readonly entities: ServiceDataSource,
  ) {}

  static register(options: AuthOptions): DynamicModule {
    return {
      module: AuthModule,
      imports: [
        ServiceDataSourceModule.register({
          url: options.databaseUrl,
          schema: 'auth',
          entities: [
            ...KEY_ENTITIES,
            ...TEAM_ENTITIES,
            ...BUDGET_DEFINITION_ENTITIES,
            ...PRICE_ENTITIES,
          ],
        }),
      ],
      controllers: [
        ValidateKeyController,
        KeysController,
        TeamsController,
        BudgetsController,
        PricingController,
        ControlConsumer,
      ],
      providers: [
        { provide: AUTH_OPTIONS, useValue: options },
        ...outboxProviders(options),
        ...storeProviders(),
        ...useCaseProviders(options),
        ...directoryProviders(options),
        ...workerProviders(options),
      ],
    };
  }

  /** Offers the directories; prices and the default team are there before anybody can ask. */
  async onModuleInit(): Promise<void> {
    const { host, runtime, database, priceSheetsDir, createDefaultTeam } = this.options;
    await this.publishPrices.execute(priceSheetsDir);
    if (createDefaultTeam) await this.createTeam.ensureDefault();
    host.expose(rpcService(KEY_DIRECTORY_SERVICE, this.keyDirectory, KEY_DIRECTORY_METHODS));
    host.expose(rpcService(PRICE_SERVICE, this.priceDirectory, PRICE_DIRECTORY_METHODS));
    const desk = new DeadLetterDesk({
      service: 'auth',
      database,
      retry: (tx, letter) => this.control.retry(tx, letter),
    });
    host.expose(rpcService(DEAD_LETTER_SERVICE, desk, DEAD_LETTER_DESK_METHODS));
    // Two pools: each can lose its server alone.
    runtime.health.register('auth.database', async () => {
      await Promise.all([database.query('SELECT 1'), this.entities.manager.query('SELECT 1')]);
    });
  }

  onApplicationBootstrap(): void {
    this.relay.start();
    this.reconciler.start();
    this.upkeep.start();
  }

  /** Rows that are not sent yet are sent after the next start. */
  async onApplicationShutdown(): Promise<void> {
    await this.upkeep.stop();
    await this.reconciler.stop();
    await this.relay.stop();
  }
}
