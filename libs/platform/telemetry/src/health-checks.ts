import { messageOf } from '#libs/kernel';

/** Longest time one readiness check may take, milliseconds; beyond it the dependency is not ready. */
const CHECK_TIMEOUT_MS = 2_000;

/** What readiness says: every dependency by name, `ok` or the reason, and what there is to note. */
export interface Readiness {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, string>>;
}

/** The readiness checks of a process. Each part registers its own; names are unique. */
export class HealthChecks {
  private readonly checks = new Map<string, () => Promise<void>>();
  private readonly notes = new Set<{ name: string; text: () => string | null }>();
  private draining = false;

  /** @param check throws, with the reason as message, while the dependency is not ready */
  register(name: string, check: () => Promise<void>): void {
    if (this.checks.has(name)) throw new Error(`readiness check ${name} is registered twice`);
    this.checks.set(name, check);
  }

  /**
   * Something to show beside the checks that does not make the process unready: an alarm about work
   * that it still does best itself.
   * @param text gives null while there is nothing to say
   * @returns a function that takes it back
   */
  note(name: string, text: () => string | null): () => void {
    const note = { name, text };
    this.notes.add(note);
    return () => this.notes.delete(note);
  }

  /** From here on the process is not ready, whatever the checks say. */
  drain(): void {
    this.draining = true;
  }

  /** Runs every check at once, each within 2 s. */
  async readiness(): Promise<Readiness> {
    const entries = await Promise.all(
      [...this.checks].map(async ([name, check]) => [name, await outcomeOf(check)] as const),
    );
    if (this.draining) entries.push(['process', 'draining']);
    const ready = entries.every(([, outcome]) => outcome === 'ok');
    const notes = [...this.notes].flatMap(({ name, text }) => {
      const said = text();
      return said === null ? [] : [[name, said] as const];
    });
    return { ready, checks: Object.fromEntries([...entries, ...notes]) };
  }
}

async function outcomeOf(check: () => Promise<void>): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), CHECK_TIMEOUT_MS);
  });
  try {
    await Promise.race([check(), timeout]);
    return 'ok';
  } catch (error) {
    return messageOf(error);
  } finally {
    clearTimeout(timer);
  }
}
