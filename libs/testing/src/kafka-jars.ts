import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { messageOf, SystemClock } from '#libs/kernel';
import { processEnvironment } from '#libs/platform/config';

import { eventually } from './eventually.js';

const run = promisify(execFile);

/** The newest release whose tools are published whole. */
const KAFKA_VERSION = '4.3.1';

/** Oldest Java that runs its broker. @source Apache Kafka 4.0 upgrade notes */
const OLDEST_JAVA = 17;

/** After this long a lock belongs to somebody who died, milliseconds. */
const LOCK_MS = 180_000;

const ARTIFACTS = [
  ['org.apache.kafka', 'kafka_2.13', KAFKA_VERSION],
  ['org.apache.kafka', 'kafka-tools', KAFKA_VERSION],
  ['org.slf4j', 'slf4j-simple', '1.7.36'],
] as const;

const PROJECT = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.tollgate</groupId><artifactId>test-kafka</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>${ARTIFACTS.map(
    ([group, artifact, version]) =>
      `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId>` +
      `<version>${version}</version></dependency>`,
  ).join('')}</dependencies>
</project>
`;

/**
 * The folder with the jars of Apache Kafka, brought by Maven once per machine into the user's cache.
 * Any number of test workers may ask at once.
 * @throws Error in one line that names what is missing
 */
export async function kafkaJars(): Promise<string> {
  await checkJava();
  const { XDG_CACHE_HOME: cacheHome } = processEnvironment();
  const cache = join(cacheHome ?? join(homedir(), '.cache'), 'tollgate');
  const jars = join(cache, `kafka-${KAFKA_VERSION}`, 'libs');
  if (existsSync(jars)) return jars;
  mkdirSync(cache, { recursive: true });
  const lock = join(cache, `kafka-${KAFKA_VERSION}.lock`);
  await eventually(() => existsSync(jars) || isLocked(lock), { deadlineMs: LOCK_MS });
  if (existsSync(jars)) return jars;
  try {
    await download(cache);
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
  return jars;
}

/** @returns whether the lock is ours now */
function isLocked(lock: string): boolean {
  try {
    mkdirSync(lock);
    return true;
  } catch {
    const madeMs = statSync(lock, { throwIfNoEntry: false })?.mtimeMs;
    if (madeMs !== undefined && new SystemClock().nowMs() - madeMs > LOCK_MS) {
      rmSync(lock, { recursive: true, force: true });
    }
    return false;
  }
}

/** Fills a folder beside the wanted one and renames it, so that nobody sees half of it. */
async function download(cache: string): Promise<void> {
  const folder = join(cache, `kafka-${KAFKA_VERSION}`);
  const partial = `${folder}.partial-${process.pid}`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial);
  writeFileSync(join(partial, 'pom.xml'), PROJECT);
  const copy = `dependency:copy-dependencies`;
  try {
    await run('mvn', ['-q', '-B', copy, `-DoutputDirectory=${join(partial, 'libs')}`], {
      cwd: partial,
    });
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw new Error(`Apache Kafka ${KAFKA_VERSION} cannot be had: mvn: ${firstLine(error)}`, {
      cause: error,
    });
  }
  rmSync(folder, { recursive: true, force: true });
  renameSync(partial, folder);
}

async function checkJava(): Promise<void> {
  let text: string;
  try {
    const { stdout, stderr } = await run('java', ['-version']);
    text = `${stderr}${stdout}`;
  } catch (error) {
    throw new Error(`Apache Kafka needs a JDK >= ${OLDEST_JAVA}: java: ${firstLine(error)}`, {
      cause: error,
    });
  }
  const major = Number(/version "(\d+)/.exec(text)?.[1] ?? 0);
  if (major >= OLDEST_JAVA) return;
  throw new Error(`Apache Kafka needs a JDK >= ${OLDEST_JAVA}, java is version ${major}`);
}

function firstLine(error: unknown): string {
  const lines = messageOf(error).split('\n');
  return (lines.find((line) => line.includes('ERROR')) ?? lines[0]!).trim();
}
