import { spawn, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import type { OracleConfig, Question, Verdict } from '../oracle/facts.js';

/** The judge, as the process of its own that it is. */
export class OracleProcess {
  private readonly waiting: ((line: string) => void)[] = [];
  private end: string | null = null;

  private constructor(private readonly child: ChildProcess) {
    createInterface({ input: child.stdout! }).on('line', (line) => this.waiting.shift()?.(line));
    child.once('exit', (code) => {
      this.end = `{"error":"the judge ended with ${code}"}`;
      for (const resolve of this.waiting) resolve(this.end);
    });
    // Its end says what there is to say.
    child.stdin!.on('error', () => undefined);
  }

  /** @param directory takes the judge's settings */
  static start(directory: string, config: OracleConfig): OracleProcess {
    const file = join(directory, 'oracle.json');
    writeFileSync(file, JSON.stringify(config));
    const main = join(import.meta.dirname, '..', 'oracle', 'main.js');
    const child = spawn(process.execPath, [main, file], { stdio: ['pipe', 'pipe', 'inherit'] });
    return new OracleProcess(child);
  }

  /** @returns the verdict, or why there is none at the moment */
  async ask(question: Question): Promise<Verdict | { readonly error: string }> {
    const line = await new Promise<string>((resolve) => {
      if (this.end !== null) return resolve(this.end);
      this.waiting.push(resolve);
      this.child.stdin!.write(`${JSON.stringify(question)}\n`);
    });
    return JSON.parse(line) as Verdict | { readonly error: string };
  }

  stop(): void {
    this.child.stdin!.end();
  }
}
