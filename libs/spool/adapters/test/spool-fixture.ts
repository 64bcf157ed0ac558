import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { SystemClock, SystemRandom, formatUuid, type PicoUsd } from '#libs/kernel';
import { SqliteSpool, type SqliteSpoolOptions } from '#libs/spool/adapters';
import type { AttemptIntent, SpoolEvent } from '#libs/spool/core';

/** Runs a test in a directory of its own and removes it. */
export async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'spool-'));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Opens a spool on the clocks of the machine. */
export function openSpool(
  directory: string,
  options: Partial<SqliteSpoolOptions> = {},
): Promise<SqliteSpool> {
  const clock = new SystemClock();
  return SqliteSpool.open({
    directory,
    ack: 'process',
    groupMs: 0,
    clock,
    random: new SystemRandom(),
    ...options,
  });
}

/** Opens a spool, uses it and closes it whatever happens. */
export async function withSpool<T>(
  directory: string,
  body: (spool: SqliteSpool) => Promise<T>,
  options: Partial<SqliteSpoolOptions> = {},
): Promise<T> {
  const spool = await openSpool(directory, options);
  try {
    return await body(spool);
  } finally {
    await spool.close();
  }
}

/** A UUID that follows from a name. */
export function idOf(name: string): string {
  return formatUuid(createHash('sha256').update(name).digest());
}

/** An intent that follows from a name. */
export function intentOf(name: string, lane = 0): AttemptIntent {
  return {
    requestId: idOf(name),
    attempt: 1,
    lane,
    holdPicoUsd: 1_234_567_890_123n as PicoUsd,
    body: Buffer.from(`{"intent":"${name}"}`),
  };
}

/** The event that ends `intentOf` the same name. */
export function eventOf(name: string, lane = 0): SpoolEvent {
  return { ...looseEventOf(name, lane), closes: { requestId: idOf(name), attempt: 1 } };
}

/** An event that ends nothing. */
export function looseEventOf(name: string, lane = 0): SpoolEvent {
  return {
    lane,
    eventId: idOf(`event ${name}`),
    headers: { ce_type: 'request.completed.v1', ce_subject: name },
    body: Buffer.from(JSON.stringify({ event: name })),
    closes: null,
  };
}
