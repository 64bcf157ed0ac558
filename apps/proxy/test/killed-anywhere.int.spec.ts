/*
 * A proxy process is killed at a named place, started again, and judged by what the event log, the
 * upstream and the budget authority say. Every case has a spool of its own.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';

import { TOPICS, type RequestCompletedV1 } from '#libs/events';
import { eventually } from '#libs/testing';

import { ProxyWorld, sendUsage, type LoggedEvent, type ProxyProcess } from './proxy-process.js';

let world: ProxyWorld;

beforeAll(async () => {
  world = await ProxyWorld.start();
});
afterAll(() => world.stop());
beforeEach(() => {
  world.upstream.seen.length = 0;
  world.upstream.answer = (res) => sendUsage(res, 10, 5);
  world.services.budget.held.clear();
});

/** Tokens of one piece of a stream: more than a mark of progress waits for. */
const PIECE_TOKENS = 300;
const piece = (text: string): string =>
  `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"${text}"},"finish_reason":null}],"usage":null}\n\n`;

/** A stream of pieces, of which each goes when the one before has been followed by a stored record. */
function streamPieces(count: number, proxy: () => ProxyProcess): void {
  world.upstream.answer = (res, { body }) => {
    if (body['stream'] !== true) return sendUsage(res, 10, 5);
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    void (async () => {
      for (let sent = 0; sent < count; sent += 1) {
        res.write(piece('x'.repeat(PIECE_TOKENS * 4)));
        // Its record goes to the spool behind the mark of the piece.
        await proxy().chat('sk-plain-key');
      }
      res.write(piece('y'));
      res.end('data: [DONE]\n\n');
    })();
  };
}

interface Case {
  readonly name: string;
  readonly failpoints: string;
  readonly isStream?: boolean;
  /** Of the request that was killed; null = no record. */
  readonly row: Partial<RequestCompletedV1> | null;
  /** Requests the upstream may have seen of it. */
  readonly sent: readonly number[];
  /** Copies of its record in the log. */
  readonly copies?: readonly number[];
}

const AT_HOLD = {
  provenance: 'estimated_hold',
  cost_pusd: '200000000000',
  source: 'recovery',
} as const;
const MEASURED = { provenance: 'measured', cost_pusd: '20000000000', source: 'proxy' } as const;

const CASES: readonly Case[] = [
  {
    name: 'before the hold: no row, no hold',
    failpoints: 'admit.before_hold=kill9',
    row: null,
    sent: [0],
  },
  {
    name: 'after the hold, before its intent: no row, the hold is given back',
    failpoints: 'admit.after_hold=kill9',
    row: null,
    sent: [0],
  },
  {
    name: 'in the commit of the intent: no row, the hold is given back',
    failpoints: 'spool.commit=kill9',
    row: null,
    sent: [0],
  },
  {
    name: 'between intent and first byte: charged at the hold, because it may have been sent',
    failpoints: 'dispatch.before_sent=kill9',
    row: AT_HOLD,
    sent: [0],
  },
  {
    name: 'when it has been handed to the upstream: charged at the hold',
    failpoints: 'dispatch.after_sent=kill9',
    row: AT_HOLD,
    sent: [0, 1],
  },
  {
    name: 'with the answer read and its record not committed: charged at the hold',
    failpoints: 'outcome.before_commit=kill9',
    row: AT_HOLD,
    sent: [1],
  },
  {
    name: 'in the commit of the record: charged at the hold',
    failpoints: 'spool.commit=kill9@2',
    row: AT_HOLD,
    sent: [1],
  },
  {
    name: 'with the record committed and not published: measured, once',
    failpoints: 'outcome.after_commit=kill9',
    row: MEASURED,
    sent: [1],
    copies: [1],
  },
  {
    name: 'before the record is sent to the log: measured, once',
    failpoints: 'relay.before_send=kill9',
    row: MEASURED,
    sent: [1],
    copies: [1],
  },
  {
    name: 'while the record is on its way to the log: measured, its copies carry one sequence',
    failpoints: 'relay.after_send=kill9',
    row: MEASURED,
    sent: [1],
    copies: [1, 2],
  },
  {
    name: "with the log's answer not yet stored: measured, its copies carry one sequence",
    failpoints: 'relay.after_ack=kill9',
    row: MEASURED,
    sent: [1],
    copies: [2],
  },
];

/** Records of one emitter, each sequence once. @throws when two events share one, or one is missing */
function distinct(events: readonly LoggedEvent[]): LoggedEvent[] {
  const bySequence = new Map<string, LoggedEvent>();
  for (const event of events) {
    const key = `${event.headers['ce_lane']}/${event.headers['ce_sequence']}`;
    const known = bySequence.get(key);
    if (known !== undefined) expect(event.data).toEqual(known.data);
    else bySequence.set(key, event);
  }
  const lanes = Map.groupBy(bySequence.values(), ({ headers }) => headers['ce_lane']);
  for (const [, lane] of lanes) {
    const sequences = lane.map(({ headers }) => Number(headers['ce_sequence']));
    expect(sequences.sort((a, b) => a - b)).toEqual(lane.map((_, index) => index + 1));
  }
  return [...bySequence.values()];
}

/** Starts the proxy again, lets it serve one request, and gives all records of its emitter. */
async function recovered(spool: string): Promise<LoggedEvent[]> {
  const proxy = await world.startProxy({ spool });
  world.upstream.answer = (res) => sendUsage(res, 1, 1);
  const response = await proxy.chat('sk-budgeted-key');
  expect(response.status).toBe(200);
  const wireId = response.headers.get('x-request-id')!.slice(4);
  const events = await eventually(async () => {
    const all = await world.logged(TOPICS.requestCompleted);
    const probe = all.find(({ data }) => data.request_id?.replaceAll('-', '') === wireId);
    if (probe === undefined) return false;
    const emitter = probe.headers['ce_emitterid'];
    return all.filter(({ headers }) => headers['ce_emitterid'] === emitter);
  });
  proxy.kill();
  await proxy.ended;
  return events.filter(({ data }) => data.request_id.replaceAll('-', '') !== wireId);
}

async function killedAt(spool: string, failpoints: string, isStream: boolean): Promise<void> {
  const proxy = await world.startProxy({ spool, variables: { FAILPOINTS: failpoints } });
  await proxy
    .chat('sk-budgeted-key', { stream: isStream })
    .then((r) => r.text())
    .catch(() => null);
  expect(await proxy.ended).toEqual({ code: null, signal: 'SIGKILL' });
}

test.each(CASES)('killed $name', async ({ failpoints, row, sent, copies }) => {
  const spool = failpoints.replaceAll(/[^a-z_0-9]/g, '-');
  await killedAt(spool, failpoints, false);
  expect(sent).toContain(world.upstream.seen.length);
  const held = [...world.services.budget.held.keys()];
  const events = await recovered(spool);
  const rows = distinct(events);
  if (row === null) {
    expect(rows).toEqual([]);
    for (const hold of held) expect(world.services.budget.released).toContain(hold);
    return;
  }
  expect(rows).toHaveLength(1);
  expect(rows[0]!.data).toMatchObject({ ...row, hold: { hold_id: held[0] } });
  expect(copies ?? [1]).toContain(events.length);
});

test('killed in the middle of a stream: charged for what was delivered, at most its hold', async () => {
  for (const failpoints of ['stream.chunk=kill9@4', 'outcome.before_commit=kill9@4']) {
    const spool = `stream-${failpoints.slice(0, 6)}`;
    const variables = { FAILPOINTS: failpoints };
    const proxy = await world.startProxy({ spool, variables });
    streamPieces(3, () => proxy);
    const body = { model: 'free-form', stream: true };
    const answer = await proxy.chat('sk-budgeted-key', body);
    await answer.text().catch(() => null);
    expect(await proxy.ended).toEqual({ code: null, signal: 'SIGKILL' });
    const rows = distinct(await recovered(spool)).filter(({ data }) => data.stream);
    expect(rows).toHaveLength(1);
    const { data } = rows[0]!;
    expect(data).toMatchObject({ provenance: 'estimated_partial', source: 'recovery' });
    expect(data.usage['output_text']).toBeGreaterThanOrEqual(3 * PIECE_TOKENS);
    expect(data.usage['output_text']).toBeLessThanOrEqual(3 * PIECE_TOKENS + 257);
    expect(BigInt(data.cost_pusd)).toBeLessThanOrEqual(BigInt(data.hold_pusd));
  }
});

test('killed while the upstream is thinking: charged at the hold', async () => {
  const proxy = await world.startProxy({ spool: 'thinking' });
  world.upstream.answer = () => proxy.kill();
  await proxy.chat('sk-budgeted-key').catch(() => null);
  await proxy.ended;
  const rows = distinct(await recovered('thinking'));
  expect(rows.map(({ data }) => data)).toMatchObject([AT_HOLD]);
});
