// Guarantee: docker-compose.yml is valid, gives each service exactly the settings that its configuration
// knows and needs, and takes away every right that none of them needs. No engine is needed.
import { expect, test } from '@jest/globals';
import { DCLinter } from 'dclint';

import { loadConfig } from '#libs/platform/config';

import {
  composeFile,
  envExample,
  environmentOf,
  FILLED_IN,
  variableUses,
  type ComposeService,
} from './compose.js';
import { imageOf, IMAGES, PROJECT, stagesOfDockerfile, textOf } from './dockerfile.js';
import { controllerPaths, edgeRoutes } from './routes.js';
import { configurationOf, credentialVariables, settingsOf } from './settings.js';

const compose = composeFile();
const services = Object.entries(compose.services);
const ours = services.filter(([, { build }]) => build !== undefined);

/** Rules about the order of lines; ours are ordered for the reader. */
const UNUSED_RULES = [
  'service-keys-order',
  'services-alphabetical-order',
  'service-dependencies-alphabetical-order',
  'top-level-properties-order',
];

function targetOf(service: ComposeService): string {
  return service.build?.target ?? '';
}

test('the compose file passes its schema and the lint without a remark', () => {
  const rules = Object.fromEntries(UNUSED_RULES.map((rule) => [rule, 0 as const]));
  const linter = new DCLinter({ rules, quiet: false, debug: false, exclude: [] });
  const results = linter.lintFiles([`${PROJECT}docker-compose.yml`], false);
  expect(results).toHaveLength(1);
  expect(results[0]?.messages).toEqual([]);
});

test('every image of ours is a target of the Dockerfile, and each but standalone is used', () => {
  const stages = stagesOfDockerfile();
  const targets = ours.map(([, service]) => targetOf(service));
  expect(targets.filter((target) => !stages.has(target))).toEqual([]);
  expect(targets.toSorted()).toEqual(IMAGES.filter((one) => one !== 'standalone').toSorted());
});

test('every other image is pinned to a version', () => {
  const images = services.flatMap(([, { image }]) => image ?? []);
  expect(images.length).toBeGreaterThan(0);
  for (const image of images) expect(image).toMatch(/:\d+\.\d+(\.\d+)*(-[a-z0-9.]+)?$/);
});

test('docker/.env.example names every variable, and the default of each that has one', () => {
  const uses = variableUses(textOf('docker-compose.yml'));
  const example = envExample();
  expect(new Set(uses.map(({ name }) => name))).toEqual(new Set(Object.keys(example)));
  for (const { name, fallback } of uses) {
    expect([name, example[name]]).toEqual([name, fallback ?? '']);
  }
});

test('compose refuses to start while a secret is missing, and has a default for none', () => {
  const uses = variableUses(textOf('docker-compose.yml'));
  const required = uses.filter(({ fallback }) => fallback === null).map(({ name }) => name);
  expect([...new Set(required)].toSorted()).toEqual([
    'ADMIN_API_KEY',
    'CLICKHOUSE_READER_PASSWORD',
    'CLICKHOUSE_WRITER_PASSWORD',
    'KEY_PEPPERS',
    'POSTGRES_PASSWORD',
    'SERVICE_SECRET',
  ]);
  const secrets = uses.filter(({ name }) => /SECRET|PASSWORD|TOKEN|PEPPER|API_KEY/.test(name));
  expect(secrets.filter(({ fallback }) => (fallback ?? '') !== '')).toEqual([]);
  for (const [, service] of ours) {
    if (service.environment?.['SERVICE_SECRET'] === undefined) continue;
    expect(() => environmentOf(service, {})).toThrow(/is required/);
  }
});

test.each(ours)('%s is given no variable that its configuration does not know', async (_, one) => {
  const known = new Set((await settingsOf(targetOf(one))).map(({ name }) => name));
  if (targetOf(one) === 'proxy') credentialVariables().forEach((name) => known.add(name));
  expect(Object.keys(one.environment ?? {}).filter((name) => !known.has(name))).toEqual([]);
});

test.each(ours)('%s starts with what it is given', async (_, service) => {
  const environment = {
    ...imageOf(targetOf(service)).environment,
    ...environmentOf(service, FILLED_IN),
  };
  const configuration = await configurationOf(targetOf(service));
  expect(loadConfig(configuration, environment)).toBeInstanceOf(configuration);
});

test('every service is told where the engines and services are that it can use', async () => {
  const engines = ['KAFKA_BROKERS', 'REDIS_URL', 'DATABASE_URL', 'CLICKHOUSE_URL'];
  for (const [name, service] of ours) {
    const wanted = (await settingsOf(targetOf(service))).filter(
      (setting) => engines.includes(setting.name) || /127\.0\.0\.1:/.test(setting.fallback ?? ''),
    );
    const given = Object.keys(service.environment ?? {});
    const untold = wanted.map((setting) => setting.name).filter((one) => !given.includes(one));
    expect([name, untold]).toEqual([name, []]);
  }
});

test('every address leads to a service of this file and to the port it listens on', () => {
  const enginePorts: Readonly<Record<string, string>> = {
    kafka: '9092',
    postgres: '5432',
    clickhouse: '8123',
    redis: '6379',
  };
  for (const [name, service] of ours) {
    const environment = environmentOf(service, FILLED_IN);
    for (const [variable, value] of Object.entries(environment)) {
      if (!/_(URL|BROKERS)$/.test(variable) || variable === 'PUBLIC_URL') continue;
      const { hostname, port } = new URL(/:\/\//.test(value) ? value : `tcp://${value}`);
      const target = targetOf(compose.services[hostname] ?? {});
      const listens =
        enginePorts[hostname] ?? (target === '' ? undefined : imageOf(target).ports[0]);
      expect([name, variable, hostname, port]).toEqual([name, variable, hostname, listens]);
      const shared = compose.services[hostname]?.networks?.filter((network) =>
        service.networks?.includes(network),
      );
      expect([name, hostname, shared?.length]).not.toEqual([name, hostname, 0]);
    }
  }
});

test.each(services)('%s has no rights it does not need, and bounds', (name, service) => {
  expect(service.cap_drop).toEqual(['ALL']);
  expect(service.security_opt).toEqual(['no-new-privileges:true']);
  // The broker of Kafka writes its configuration at start.
  expect(service.read_only ?? false).toBe(name !== 'kafka');
  const limits = service.deploy?.resources?.limits ?? {};
  expect(Object.keys(limits).toSorted()).toEqual(['cpus', 'memory', 'pids']);
  if (service.user !== undefined) expect(service.user).toMatch(/^[1-9]\d*:[1-9]\d*$/);
});

test.each(services.filter(([name]) => name !== 'migrate'))('%s is watched', (_, service) => {
  const [kind, ...command] = service.healthcheck?.test ?? [];
  expect(kind).toBe('CMD');
  if (service.build === undefined) return;
  const image = imageOf(targetOf(service));
  expect(command.slice(0, 2)).toEqual(image.healthCheck?.slice(0, 2));
});

test('one command brings up everything that is not for demonstrations', () => {
  const optional = services.filter(([, { profiles }]) => profiles !== undefined);
  expect(optional.map(([name]) => name)).toEqual(['simulator']);
});

test('services wait for the migration, and the migration for its engines', () => {
  const { migrate } = compose.services;
  expect(Object.keys(migrate?.depends_on ?? {}).toSorted()).toEqual(['kafka', 'postgres']);
  expect(migrate?.restart).toBe('no');
  for (const [name, service] of ours) {
    if (service.environment?.['DATABASE_URL'] === undefined || name === 'migrate') continue;
    expect(service.depends_on?.['migrate']?.condition).toBe('service_completed_successfully');
  }
});

test('metering can be scaled: nothing of it exists only once', () => {
  const { container_name: name, ports, volumes } = compose.services['metering']!;
  expect({ name, ports, volumes }).toEqual({
    name: undefined,
    ports: undefined,
    volumes: undefined,
  });
  expect(services.filter(([, one]) => one.container_name !== undefined)).toEqual([]);
});

test('only the edge can be reached, from this machine alone', () => {
  const open = services.flatMap(([name, { ports }]) => (ports ?? []).map((port) => [name, port]));
  expect(open).toEqual([['edge', '127.0.0.1:${TOLLGATE_PORT:-8080}:8080']]);
  expect(compose.networks['engines']?.internal).toBe(true);
  for (const engine of ['kafka', 'postgres', 'clickhouse', 'redis']) {
    expect(compose.services[engine]?.networks).toEqual(['engines']);
  }
});

test('the proxy keeps its spool, and may drain before it is killed', () => {
  const proxy = compose.services['proxy']!;
  expect(proxy.volumes).toEqual([`spool:${imageOf('proxy').environment['SPOOL_DIR']}`]);
  const drainSeconds = Number(environmentOf(proxy, FILLED_IN)['DRAIN_SECONDS']);
  expect(Number.parseInt(proxy.stop_grace_period ?? '0', 10)).toBeGreaterThan(drainSeconds + 15);
});

test('every named volume is used, and every used one is declared', () => {
  const used = services
    .flatMap(([, { volumes }]) => volumes ?? [])
    .filter((volume) => !volume.startsWith('.'))
    .map((volume) => volume.split(':')[0] ?? '');
  expect(used.toSorted()).toEqual(Object.keys(compose.volumes).toSorted());
});

test('the edge leads each path to the service that serves it, and nobody to /internal', () => {
  const routes = edgeRoutes();
  for (const { service, port } of routes) expect(imageOf(service).ports).toEqual([port]);
  const served = [...controllerPaths(), ['proxy', '/v1/chat/completions'], ['proxy', '/v1/models']];
  for (const [app = '', path = ''] of served) {
    const route = routes.find((one) => path.startsWith(one.prefix));
    expect([path, route?.service]).toEqual([path, app]);
  }
  expect(routes.filter(({ prefix }) => '/internal/rpc'.startsWith(prefix))).toEqual([]);
  expect(textOf('docker/edge.conf')).toMatch(/location \/ \{\s+return 404;/);
});

test('the edge resolves names anew and sends no call twice', () => {
  const text = textOf('docker/edge.conf');
  expect(text).toContain('resolver 127.0.0.11');
  expect(text).toContain('proxy_next_upstream off;');
  expect(text).toContain('proxy_buffering off;');
});

test('the users of ClickHouse have the names in the addresses, and passwords from the environment', () => {
  const xml = textOf('docker/clickhouse-users.xml');
  const given = compose.services['clickhouse']?.environment ?? {};
  for (const [name, user] of [
    ['metering', 'tollgate_writer'],
    ['reporting', 'tollgate_reader'],
  ] as const) {
    expect(compose.services[name]?.environment?.['CLICKHOUSE_URL']).toContain(`//${user}:`);
    expect(xml).toContain(`<${user}>`);
  }
  const fromEnv = [...xml.matchAll(/from_env="([A-Z_]+)"/g)].map(([, name]) => name);
  expect(fromEnv).toHaveLength(2);
  expect(fromEnv.filter((name) => given[name ?? ''] === undefined)).toEqual([]);
  expect(xml).toContain('<default remove="remove" />');
});

test('docs/scale.md names every setting of the services, with its default', async () => {
  const rows = textOf('docs/scale.md')
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim().replaceAll('`', '')));
  const documented = new Map(rows.map(([, name = '', , fallback = '']) => [name, fallback]));
  const wrong: string[] = [];
  for (const image of IMAGES.filter((one) => one !== 'simulator' && one !== 'standalone')) {
    for (const { name, fallback } of await settingsOf(image)) {
      const said = documented.get(name) ?? 'nothing';
      const wanted = fallback === undefined ? '**needed**' : (fallback ?? 'none');
      const isSaid = name === 'PORT' ? said.includes(`${image} ${wanted}`) : said === wanted;
      if (!isSaid) wrong.push(`${image}: ${name} is ${wanted}, the page says ${said}`);
    }
  }
  expect(wrong).toEqual([]);
});
