// Guarantee: the simulator is a true upstream with a true record. It runs as a process of its own, is
// called over HTTP, and what it says it billed is compared with what it answered.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

const main = fileURLToPath(new URL('../src/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tollgate-simulator-'));
const logFile = join(folder, 'log.jsonl');

let child: ChildProcess;
let url: string;

beforeAll(async () => {
  child = spawn(process.execPath, [main], {
    env: { SIMULATOR_PORT: '0', SIMULATOR_LOG_FILE: logFile },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  url = await new Promise<string>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the simulator ended with ${code}`)));
    child.stdout!.on('data', (chunk: Buffer) => {
      const match = /listening on (\S+)/.exec(chunk.toString());
      if (match?.[1] !== undefined) resolve(match[1]);
    });
  });
});

afterAll(async () => {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
  rmSync(folder, { recursive: true });
});

function call(attemptId: string, request: object, signal?: AbortSignal): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-client-request-id': attemptId,
      authorization: 'Bearer hidden-credential',
    },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'hi' }], ...request }),
    ...(signal === undefined ? {} : { signal }),
  });
}

function linesOf(attemptId: string): Record<string, unknown>[] {
  const lines = readFileSync(logFile, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line)).filter((line) => line.attempt_id === attemptId);
}

test('a plain answer reports what was billed', async () => {
  const response = await call('plain.1', { model: 'fake-in10-out20', max_tokens: 5 });
  const answer = (await response.json()) as { usage: object; choices: { finish_reason: string }[] };
  expect(response.status).toBe(200);
  expect(answer.usage).toMatchObject({ prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 });
  expect(answer.choices[0]?.finish_reason).toBe('length');
  expect(linesOf('plain.1')).toMatchObject([
    { line: 'received', model: 'fake-in10-out20', stream: false },
    { line: 'billed', billed_input: 10, billed_output: 5, status: 200 },
  ]);
});

test('a stream keeps its schedule and ends with usage and the end mark', async () => {
  const startedMs = performance.now();
  const response = await call('stream.1', {
    model: 'fake-in10-out8',
    stream: true,
    stream_options: { include_usage: true },
    simulator: { latency_ms: 50, chunk_interval_ms: 20, chunks: 4 },
  });
  const text = await response.text();
  expect(performance.now() - startedMs).toBeGreaterThanOrEqual(50 + 4 * 20);
  expect(text).toContain('"usage":{"prompt_tokens":10,"completion_tokens":8');
  expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
});

test('a caller that leaves in mid-stream is billed in full', async () => {
  const abort = new AbortController();
  const simulator = { chunk_interval_ms: 1_000, chunks: 50 };
  const request = { model: 'fake-in10-out100', stream: true, simulator };
  const response = await call('left.1', request, abort.signal);
  await response.body!.getReader().read();
  abort.abort();
  expect(linesOf('left.1')[1]).toMatchObject({ billed_input: 10, billed_output: 100 });
});

test('an error status is answered in the envelope and bills nothing', async () => {
  const response = await call('error.1', { model: 'fake-in10-out10-status500' });
  expect(response.status).toBe(500);
  expect(await response.json()).toMatchObject({ error: { type: 'server_error' } });
  expect(linesOf('error.1')[1]).toMatchObject({ billed_input: 0, billed_output: 0, status: 500 });
});

test.each(['cut_before_headers', 'cut_mid_stream'])(
  '%s breaks the answer, not the bill',
  async (fault) => {
    const attempt = async (stream: boolean): Promise<string> =>
      (await call(`${fault}.${stream}`, { model: `fake-in10-out10-${fault}`, stream })).text();
    for (const stream of [true, false]) {
      await expect(attempt(stream)).rejects.toThrow(/fetch failed|terminated/);
      expect(linesOf(`${fault}.${stream}`)[1]).toMatchObject({
        billed_input: 10,
        billed_output: 10,
      });
    }
  },
);

test('a faulty request gets 400 with the member named', async () => {
  const response = await call('faulty.1', { model: 'fake-in1-out1', max_tokens: 'many' });
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ error: { param: 'max_tokens' } });
});

test('the log is served over HTTP and shows no credential', async () => {
  const text = await (await fetch(`${url}/simulator/log`)).text();
  expect(JSON.parse(text).lines.length).toBeGreaterThan(0);
  expect(text).not.toContain('hidden-credential');
});

test('a hundred calls at once are each received and billed once', async () => {
  const ids = Array.from({ length: 100 }, (_, n) => `many.${n}`);
  const model = 'fake-in1-out1-latency20';
  const responses = await Promise.all(ids.map((id) => call(id, { model })));
  await Promise.all(responses.map((response) => response.arrayBuffer()));
  for (const id of ids) {
    expect(linesOf(id).map((line) => line['line'])).toEqual(['received', 'billed']);
  }
});

test('a termination signal ends the process with code 0', async () => {
  const stopped = spawn(process.execPath, [main], {
    env: { SIMULATOR_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => stopped.once('exit', resolve));
  await new Promise((resolve) => stopped.stdout.once('data', resolve));
  stopped.kill('SIGTERM');
  expect(await ended).toBe(0);
});

test('a configuration fault ends the start with code 2', async () => {
  const faulty = spawn(process.execPath, [main], {
    env: { SIMULATOR_PORT: '70000' },
    stdio: 'ignore',
  });
  expect(await new Promise((resolve) => faulty.once('exit', resolve))).toBe(2);
});
