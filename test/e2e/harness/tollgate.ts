import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { eventually } from '#libs/testing';

import { Child } from './child.js';
import { readEvents } from './event-log-probe.js';

const ROOT = join(import.meta.dirname, '..', '..', '..', '..');
const STANDALONE = join(ROOT, 'dist/apps/standalone/src/main.js');
const SIMULATOR = join(ROOT, 'dist/apps/simulator/src/main.js');

/** The operator secret of every installation under test. */
export const OPERATOR = 'operator-secret-of-the-suite';

/** Whatever a JSON body holds; tests state what they expect of it. */
export type Json = ReturnType<typeof JSON.parse>;

/** A model the suite may call, with the sizes the simulator reports for it. */
export interface TestModel {
  readonly id: string;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Decimal dollars per million tokens. */
  readonly inputUsdPerMillion: string;
  readonly outputUsdPerMillion: string;
}

/** One installation in a folder of its own: standalone, and the simulator as another process. */
export class Tollgate {
  url = '';
  simulatorUrl = '';
  readonly dataDir: string;
  readonly simulatorLog: string;
  private readonly folder: string;
  private standalone: Child | undefined;
  private simulator: Child | undefined;

  constructor(
    models: readonly TestModel[],
    private readonly extraEnv: Record<string, string> = {},
    unpriced: readonly { readonly id: string }[] = [],
  ) {
    this.folder = mkdtempSync(join(tmpdir(), 'tollgate-e2e-'));
    // As root the embedded database runs as another user, who must be able to pass through.
    chmodSync(this.folder, 0o711);
    this.dataDir = join(this.folder, 'data');
    this.simulatorLog = join(this.folder, 'simulator.jsonl');
    mkdirSync(join(this.folder, 'prices'));
    writeFileSync(join(this.folder, 'catalog.json'), catalogOf(models, unpriced));
    writeFileSync(join(this.folder, 'prices', 'simulator.json'), sheetOf(models));
  }

  /** Starts the simulator and standalone, and waits until standalone is ready. */
  async start(): Promise<void> {
    if (this.simulator === undefined) {
      this.simulator = Child.start(SIMULATOR, [], {
        SIMULATOR_PORT: '0',
        SIMULATOR_LOG_FILE: this.simulatorLog,
      });
      const [, url = ''] = await this.simulator.waitFor(/(http:\/\/127\.0\.0\.1:\d+)/);
      this.simulatorUrl = url;
    }
    await this.startStandalone();
  }

  /** Starts standalone alone; for restarts while the simulator lives on. */
  async startStandalone(): Promise<void> {
    this.standalone = this.spawnStandalone();
    const [, url = ''] = await this.standalone.waitFor(/ready at (http:\/\/127\.0\.0\.1:\d+)/);
    this.url = url;
  }

  /** Another standalone process on the same data, without waiting for anything. */
  spawnStandalone(env: Record<string, string> = {}): Child {
    return Child.start(STANDALONE, [], {
      PORT: '0',
      DATA_DIR: this.dataDir,
      ADMIN_API_KEY: OPERATOR,
      SIMULATOR_URL: this.simulatorUrl,
      CATALOG_FILE: join(this.folder, 'catalog.json'),
      PRICE_SHEETS_DIR: join(this.folder, 'prices'),
      LOG_LEVEL: 'warn',
      ...this.extraEnv,
      ...env,
    });
  }

  /** Ends standalone with a signal. @returns its exit code, null when the signal killed it */
  async endStandalone(signal: NodeJS.Signals): Promise<number | null> {
    const code = await this.standalone?.end(signal);
    this.standalone = undefined;
    return code ?? null;
  }

  /** Path of a catalogue with two faults: a member `no_such_member`, a route to provider `nowhere`. */
  faultyCatalog(): string {
    const path = join(this.folder, 'faulty.json');
    const catalog = JSON.parse(catalogOf([])) as { models: unknown[] };
    catalog.models.push({
      id: 'a',
      no_such_member: 1,
      routes: [{ provider: 'simulator', model: 'a' }],
    });
    catalog.models.push({ id: 'b', routes: [{ provider: 'nowhere', model: 'b' }] });
    writeFileSync(path, JSON.stringify(catalog));
    return path;
  }

  /** Attempts that reached the simulator so far. */
  attempts(): number {
    const lines = readFileSync(this.simulatorLog, 'utf8').split('\n');
    return lines.filter((line) => line.includes('"received"')).length;
  }

  /** What standalone printed so far. */
  get printed(): string {
    return this.standalone?.printed ?? '';
  }

  /** Stops everything and removes the folder. */
  async destroy(): Promise<void> {
    await this.standalone?.end('SIGTERM');
    await this.simulator?.end('SIGTERM');
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** An administrative call as the operator; the body is JSON when there is one. */
  async admin(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; body: Json }> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: {
        authorization: `ADMIN ${OPERATOR}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? null : JSON.parse(text) };
  }

  /** A new key of the operator's. */
  async createKey(members: Record<string, unknown> = {}): Promise<{ id: string; key: string }> {
    const { status, body } = await this.admin('POST', '/api/keys', { name: 'test', ...members });
    if (status !== 201) throw new Error(`no key was made: ${status} ${JSON.stringify(body)}`);
    return { id: body.key_data.id, key: body.key };
  }

  /** The command line, with the operator's credential. */
  cli(...args: string[]): Promise<{ code: number | null; printed: string }> {
    return this.cliWith({}, ...args);
  }

  /** The same with other settings. */
  async cliWith(
    env: Record<string, string>,
    ...args: string[]
  ): Promise<{ code: number | null; printed: string }> {
    const child = Child.start(join(ROOT, 'dist/apps/cli/src/main.js'), ['tollgate', ...args], {
      TOLLGATE_URL: this.url,
      ADMIN_API_KEY: OPERATOR,
      ...env,
    });
    const code = await child.untilExit();
    return { code, printed: child.printed };
  }

  /** Reasons of the `request.rejected` events of a key, oldest first, read from the event log. */
  async rejectionsOf(keyIdHex: string): Promise<string[]> {
    const events = await readEvents(this.dataDir, 'request.rejected');
    return events
      .filter((event) => String(event['key_id']).replaceAll('-', '') === keyIdHex)
      .map((event) => String(event['reason']));
  }

  /** Waits until the figures of the last 24 h satisfy a condition. */
  async usageEventually(
    query: string,
    isEnough: (body: Json) => boolean,
    deadlineMs = 60_000,
  ): Promise<Json> {
    return eventually(
      async () => {
        const { body } = await this.admin('GET', `/v1/usage?${query}`);
        return isEnough(body) ? body : false;
      },
      { deadlineMs },
    );
  }
}

function catalogOf(
  models: readonly TestModel[],
  unpriced: readonly { readonly id: string }[] = [],
): string {
  const sized = models.map((model) => ({
    id: model.id,
    created: 1_700_000_000,
    limits: {
      context_tokens: model.inputTokens + model.outputTokens,
      max_input_tokens: model.inputTokens,
      max_output_tokens: model.outputTokens,
      hold_input_from_limit: true,
    },
    routes: [{ provider: 'simulator', model: model.id }],
  }));
  const bare = unpriced.map(({ id }) => ({
    id,
    created: 1_700_000_000,
    limits: { context_tokens: 1000, max_input_tokens: 1000, max_output_tokens: 1000 },
    routes: [{ provider: 'simulator', model: id }],
  }));
  return JSON.stringify({
    models: [...sized, ...bare],
    providers: [
      {
        name: 'simulator',
        type: 'openai',
        base_url: '${SIMULATOR_URL}/v1',
        credential_env: null,
        usage_in_stream: 'inject',
      },
    ],
  });
}

function sheetOf(models: readonly TestModel[]): string {
  return JSON.stringify({
    provider: 'simulator',
    currency: 'USD',
    sheets: models.map((model) => ({
      model: model.id,
      effective_from: '2026-01-01T00:00:00Z',
      source: { url: 'https://example.com/prices', read_on: '2026-01-01' },
      tiers: [
        {
          service_tier: 'standard',
          input_from: 0,
          usd_per_million_tokens: {
            input_text: model.inputUsdPerMillion,
            output_text: model.outputUsdPerMillion,
          },
        },
      ],
    })),
  });
}
