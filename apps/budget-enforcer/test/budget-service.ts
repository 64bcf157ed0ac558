import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';

import { BUDGET_AUTHORITY_METHODS, BUDGET_SERVICE, type BudgetAuthority } from '#libs/budgets/core';
import { HttpRpcTransport, rpcClient } from '#libs/platform/rpc';
import { eventually } from '#libs/testing';

/** The entry of the service as a process. */
export const BUDGET_MAIN = resolve(import.meta.dirname, '../src/main.js');

/** The service as a child process. */
export interface BudgetService {
  readonly url: string;
  readonly authority: BudgetAuthority;
  readonly child: ChildProcess;
  /** Ends it; idempotent. @returns its exit code, null when a signal ended it */
  close(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null>;
}

/** Starts the service on a free port. @param env `SERVICE_SECRET` and whatever it needs */
export async function startBudgetService(
  env: Readonly<Record<string, string>> & { readonly SERVICE_SECRET: string },
): Promise<BudgetService> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', BUDGET_MAIN], {
    env: { PATH: process.env['PATH'], PORT: '0', LOG_LEVEL: 'silent', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const url = await addressOf(child);
  const transport = new HttpRpcTransport({
    baseUrls: { [BUDGET_SERVICE]: url },
    secret: env.SERVICE_SECRET,
    timeoutMs: 30_000,
  });
  const close = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> => {
    const isRunning = child.exitCode === null && child.signalCode === null;
    const exit = isRunning ? once(child, 'exit') : null;
    child.kill(signal);
    await exit;
    await transport.close();
    return child.exitCode;
  };
  let closed: Promise<number | null> | undefined;
  return {
    url,
    authority: rpcClient<BudgetAuthority>(transport, BUDGET_SERVICE, BUDGET_AUTHORITY_METHODS),
    child,
    close: (signal) => (closed ??= close(signal)),
  };
}

/** @throws Error when it ends or says nothing for 150 s; it is killed then */
async function addressOf(child: ChildProcess): Promise<string> {
  let output = '';
  child.stdout!.on('data', (text: Buffer) => (output += text.toString()));
  const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
  try {
    await eventually(() => output.includes('\n') || isOver(), { deadlineMs: 150_000 });
    const url = /listening on (\S+)/.exec(output)?.[1];
    if (url === undefined) throw new Error(`the service ended with ${child.exitCode}: ${output}`);
    return url;
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}
