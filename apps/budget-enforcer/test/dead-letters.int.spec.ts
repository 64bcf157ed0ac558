/**
 * Guarantee: a record that the guard could not read is shown and retried through
 * `budget.dead-letters`: a charge is settled once, whatever came of it meanwhile, and an older
 * definition changes nothing.
 * Method: the service as a process on a real PostgreSQL, asked over HTTP as metering does.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { productTopics, provisionTopics } from '#libs/event-log/adapters';
import { TOPICS, USAGE_RATED_V1 } from '#libs/events';
import { parseUsd } from '#libs/kernel';
import { DEAD_LETTER_DESK_METHODS, type DeadLetterDeskPort } from '#libs/platform/postgres';
import { HttpRpcTransport, rpcClient } from '#libs/platform/rpc';
import { eventually, type TestPostgres } from '#libs/testing';

import { startBudgetService, type BudgetService } from './budget-service.js';
import { definition, freshKey, Guard, rated, startGuardPostgres } from './guard-fixture.js';

const SECRET = 'a-secret-of-the-test-services';

let postgres: TestPostgres;
let guard: Guard;
let service: BudgetService;
let transport: HttpRpcTransport;
let desk: DeadLetterDeskPort;

beforeAll(async () => {
  postgres = await startGuardPostgres();
  await provisionTopics(postgres.url, productTopics(1));
  guard = new Guard(postgres.database('budget'));
  service = await startBudgetService({
    DATABASE_URL: postgres.url,
    SERVICE_SECRET: SECRET,
    LOG_PARTITIONS: '1',
  });
  transport = new HttpRpcTransport({
    baseUrls: { budget: service.url },
    secret: SECRET,
    timeoutMs: 30_000,
  });
  desk = rpcClient(transport, 'budget.dead-letters', DEAD_LETTER_DESK_METHODS);
}, 120_000);

afterAll(async () => {
  await transport.close();
  await service.close('SIGKILL');
  await postgres.stop();
});

async function park(topic: string, offset: number, type: string, value: unknown): Promise<string> {
  await guard.database.query(
    `INSERT INTO dead_letter (topic, partition, "offset", class, error, key, headers, payload, booked)
     VALUES ($1, 0, $2, 'budget.malformed_event', 'scope', 'k', $3, $4, false)`,
    [
      topic,
      offset,
      Buffer.from(JSON.stringify({ ce_type: type })),
      Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
    ],
  );
  return `${topic}/0/${offset}`;
}

async function spent(key: ReturnType<typeof freshKey>): Promise<bigint | undefined> {
  return (await guard.authority.spendOf([key]))[0]?.settledPicoUsd;
}

test('a parked charge is settled once, fills its hole, and lets what waits behind it go on', async () => {
  const key = freshKey();
  const [first, second] = [rated([0, 9], [key], '0.1'), rated([10, 19], [key], '0.2')];
  const place = await park(TOPICS.usageRated, 900, USAGE_RATED_V1, first);
  expect(await guard.settle(second)).toMatchObject({ applied: 0, parked: 1 });
  expect(await desk.show(place)).toMatchObject({
    id: `budget-enforcer/${place}`,
    service: 'budget-enforcer',
    payload_text: JSON.stringify(first),
  });
  const answers = await Promise.all([1, 2, 3].map(() => desk.retry(place)));
  expect(answers).toMatchObject(answers.map(() => ({ state: 'retried' })));
  expect(await spent(key)).toBe(parseUsd('0.3'));
});

test('a charge that was settled from another copy is not settled again', async () => {
  const key = freshKey();
  const batch = rated([20, 29], [key], '0.1');
  const place = await park(TOPICS.usageRated, 901, USAGE_RATED_V1, batch);
  await guard.settle(batch);
  expect(await desk.retry(place)).toMatchObject({ state: 'retried' });
  expect(await spent(key)).toBe(parseUsd('0.1'));
});

test('a parked definition is applied, an older one changes nothing', async () => {
  const key = freshKey();
  const { budgetId } = definition(key, '1');
  const event = (rev: number, limitUsd: string) => ({
    budget_id: budgetId,
    scope: 'key',
    scope_id: key.subjectId,
    period: 'total',
    limit_pusd: parseUsd(limitUsd).toString(),
    thresholds: [],
    enabled: true,
    rev,
  });
  const newer = await park(TOPICS.control, 900, 'budget.defined.v1', event(2, '2'));
  const older = await park(TOPICS.control, 901, 'budget.defined.v1', event(1, '1'));
  await desk.retry(newer);
  await desk.retry(older);
  const figures = await eventually(() => guard.authority.figures([budgetId]));
  expect(figures).toMatchObject([{ limitPicoUsd: parseUsd('2') }]);
});

test('what still cannot be read is refused over the wire as it is here, and stays parked', async () => {
  const places = [
    await park(TOPICS.usageRated, 903, USAGE_RATED_V1, '{"batch_id":'),
    await park(TOPICS.usageRated, 904, 'usage.rated.v2', '{}'),
    await park(TOPICS.control, 905, 'budget.defined.v1', '{}'),
  ];
  for (const place of places) {
    await expect(desk.retry(place)).rejects.toMatchObject({
      code: 'dead_letter.unreadable',
      kind: 'conflict',
    });
  }
  const parked = await desk.list({ state: 'parked', topic: null, after: null, limit: 10 });
  expect(parked.map(({ offset }) => offset)).toEqual(['905', '903', '904']);
});
