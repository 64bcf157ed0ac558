import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** One load of a closed loop. */
export interface Load {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly connections: number;
  readonly seconds: number;
  /** The core the generator is pinned to. */
  readonly core: number;
}

/** What came back. */
export interface LoadResult {
  readonly requests: number;
  readonly non2xx: number;
  readonly socketErrors: number;
  readonly seconds: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** Runs wrk with a POST body. @param folder where its script is written */
export async function runWrk(load: Load, folder: string): Promise<LoadResult> {
  const script = join(folder, 'post.lua');
  writeFileSync(script, scriptOf(load));
  const { stdout } = await run(
    'taskset',
    [
      '-c',
      String(load.core),
      'wrk',
      '-t1',
      `-c${load.connections}`,
      `-d${load.seconds}s`,
      '--timeout',
      '30s',
      '-s',
      script,
      load.url,
    ],
    { timeout: (load.seconds + 60) * 1_000 },
  );
  const line = stdout.split('\n').find((text) => text.startsWith('RESULT '));
  if (line === undefined) throw new Error(`wrk said nothing to read:\n${stdout}`);
  return JSON.parse(line.slice('RESULT '.length)) as LoadResult;
}

function scriptOf(load: Load): string {
  const headers = Object.entries(load.headers)
    .map(([name, value]) => `wrk.headers[${JSON.stringify(name)}] = ${JSON.stringify(value)}`)
    .join('\n');
  return `wrk.method = "POST"
wrk.body = ${JSON.stringify(load.body)}
${headers}
done = function(summary, latency, requests)
  io.write(string.format(
    'RESULT {"requests":%d,"non2xx":%d,"socketErrors":%d,"seconds":%f,"p50Us":%d,"p99Us":%d}\\n',
    summary.requests, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.duration / 1000000, latency:percentile(50), latency:percentile(99)))
end
`;
}
