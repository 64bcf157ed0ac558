import 'reflect-metadata';
import { connect } from 'node:net';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Body, Controller, Get, Module, Post } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { IsString } from 'class-validator';

import { AppError } from '#libs/kernel';
import { createHttpApp, strictValidationPipe } from '#libs/platform/http';
import { createRuntime } from '#libs/platform/telemetry';

class ThingRequestDto {
  @IsString()
  name!: string;
}

@Controller()
class ThingsController {
  @Post('/api/things')
  create(@Body(strictValidationPipe({ refuseUnknown: true })) body: ThingRequestDto): object {
    return { name: body.name };
  }
  @Get('/teams')
  teams(): never {
    throw new AppError({ code: 'teams.nope', kind: 'not_found', publicMessage: 'Team not found' });
  }
  @Get('/v1/broken')
  broken(): never {
    throw new Error('SELECT secret FROM somewhere');
  }
}

@Module({ controllers: [ThingsController] })
class ThingsModule {}

let app: NestFastifyApplication;
let base: string;

beforeAll(async () => {
  const runtime = createRuntime({ service: 'test', partitions: 1, logLevel: 'silent' });
  app = await createHttpApp(ThingsModule, runtime, {
    serviceName: 'test',
    adminApiKey: 'operator',
    metricsToken: null,
  });
  await app.listen(0, '127.0.0.1');
  base = await app.getUrl();
});

afterAll(() => app.close());

async function post(path: string, body: string): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${base}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  return { status: response.status, body: await response.json() };
}

/** Sends bytes as they are and returns everything that comes back until the connection closes. */
function raw(bytes: string, { isHalfClosed = false } = {}): Promise<string> {
  const port = Number(new URL(base).port);
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => {
      if (isHalfClosed) socket.end(bytes);
      else socket.write(bytes);
    });
    socket.on('data', (data) => {
      answer += String(data);
    });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
}

describe('the HTTP application', () => {
  test('each family of routes answers an unknown path in its own dialect', async () => {
    const bodies = await Promise.all(
      ['/api/x', '/teams/x/y', '/v1/x', '/x'].map(async (path) => {
        const response = await fetch(`${base}${path}`);
        expect(response.status).toBe(404);
        expect(response.headers.get('x-request-id')).toMatch(/^req-[0-9a-f]{32}$/);
        return (await response.json()) as Record<string, unknown>;
      }),
    );
    expect(bodies[0]).toEqual({ detail: 'Not Found' });
    expect(bodies[1]).toEqual({ error: 'Not Found' });
    expect(bodies[2]).toMatchObject({ error: { message: 'Not Found' }, detail: 'Not Found' });
    expect(bodies[3]).toMatchObject({ status: 404, code: 'http.not_found' });
  });

  test('a known path with another method answers 405', async () => {
    const response = await fetch(`${base}/api/things`, { method: 'DELETE' });
    expect(response.status).toBe(405);
  });

  test('a faulty body names every faulty member and is 422 in the fastapi dialect', async () => {
    expect(await post('/api/things', '{"name":5,"extra":1}')).toMatchObject({
      status: 422,
      body: { detail: [{ loc: ['body', 'extra'] }, { loc: ['body', 'name'] }] },
    });
  });

  test('unreadable JSON, a repeated name and a reserved name are invalid input', async () => {
    for (const body of ['{"name":', '{"name":"a","name":"b"}', '{"name":{"__proto__":1}}']) {
      expect((await post('/api/things', body)).status).toBe(422);
    }
  });

  test('an unexpected failure shows nothing of its cause', async () => {
    const response = await fetch(`${base}/v1/broken`);
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain('SELECT');
  });

  test('a repeated credential header is refused before any route sees it', async () => {
    const answer = await raw(
      'GET /teams HTTP/1.1\r\nHost: a\r\nX-Api-Key: a\r\nX-Api-Key: b\r\nConnection: close\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  });

  test.each([
    ['bytes that are no HTTP', 'nonsense\r\n\r\n', 400],
    ['a head too large', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    [
      'two lengths of one body',
      'POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}',
      400,
    ],
  ])('%s answers the envelope and closes the connection', async (_what, bytes, status) => {
    const answer = await raw(bytes);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(answer).toMatch(/x-request-id: req-[0-9a-f]{32}/);
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toMatchObject({
      error: { type: 'invalid_request_error', param: null },
      detail: expect.any(String),
    });
  });

  test('a body that is cut off answers the envelope to a client that still listens', async () => {
    const answer = await raw(
      'POST /api/things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{',
      { isHalfClosed: true },
    );
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).toContain('"error"');
  });

  test('health, readiness and metrics are served', async () => {
    const health = await fetch(`${base}/health`);
    expect(await health.json()).toEqual({ status: 'healthy', service: 'test' });
    expect((await fetch(`${base}/health/ready`)).status).toBe(200);
    expect(await (await fetch(`${base}/metrics`)).text()).toContain('process_cpu');
  });
});
