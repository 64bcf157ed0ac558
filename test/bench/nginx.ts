import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';

import { eventually } from '#libs/testing';

import { childrenOf } from './cpu-time.js';

/** A running nginx with one worker. */
export interface Nginx {
  readonly url: string;
  /** The worker, whose time is measured. */
  readonly pids: readonly number[];
  stop(): void;
}

/**
 * Starts nginx as a plain reverse proxy with keep-alive on both sides: the peer of the bench.
 * @param core the core it is pinned to
 */
export async function startNginx(
  folder: string,
  port: number,
  upstream: string,
  core: number,
): Promise<Nginx> {
  mkdirSync(folder, { recursive: true });
  const config = join(folder, 'nginx.conf');
  writeFileSync(config, configOf(folder, port, new URL(upstream).host));
  const child: ChildProcess = spawn(
    'taskset',
    ['-c', String(core), 'nginx', '-p', folder, '-c', config, '-e', join(folder, 'error.log')],
    { stdio: 'ignore' },
  );
  await eventually(() => isListening(port), { deadlineMs: 10_000 });
  const master = child.pid ?? 0;
  await eventually(() => childrenOf(master).length > 0);
  return {
    url: `http://127.0.0.1:${port}`,
    pids: childrenOf(master),
    stop: () => void child.kill('SIGTERM'),
  };
}

function configOf(folder: string, port: number, upstreamHost: string): string {
  return `daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  keepalive_requests 10000000;
  upstream provider { server ${upstreamHost}; keepalive 256; keepalive_requests 10000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }
  }
}
`;
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
