import { AppError, messageOf } from '#libs/kernel';
import {
  DEAD_LETTER_DESK_METHODS,
  unknownDeadLetter,
  type DeadLetterDeskPort,
  type DeadLetterListing,
  type DeadLetterView,
} from '#libs/platform/postgres';
import { rpcClient, type RpcTransport } from '#libs/platform/rpc';
import type { Logger } from '#libs/platform/telemetry';

/** Which letter, and of which service. */
export interface DeadLetterAddress {
  readonly service: string;
  /** `<topic>/<partition>/<offset>`. */
  readonly place: string;
}

/** Letters of all services, and whose are not among them. */
export interface DeadLetterPage {
  readonly letters: readonly DeadLetterView[];
  /** Services that did not answer. */
  readonly unreachable: readonly string[];
}

/** Which letters are listed; `service` null = of all. */
export interface DeadLetterSearch extends Omit<DeadLetterListing, 'after'> {
  readonly service: string | null;
  readonly after: DeadLetterAddress | null;
}

/** The other services that park records, by the port of their desk. */
const OTHERS = { auth: 'auth.dead-letters', 'budget-enforcer': 'budget.dead-letters' } as const;
const OWN = 'metering';

/** Names of the services that park records, in the order of a list. */
export const LETTER_SERVICES: readonly string[] = [...Object.keys(OTHERS), OWN].toSorted();

/** The dead letters of every service that parks records. */
export class DeadLetterDesks {
  private readonly desks: ReadonlyMap<string, DeadLetterDeskPort>;

  constructor(
    own: DeadLetterDeskPort,
    rpc: RpcTransport,
    private readonly logger: Pick<Logger, 'warn'>,
  ) {
    const others = Object.entries(OTHERS).map(([service, port]) => {
      const desk = rpcClient<DeadLetterDeskPort>(rpc, port, DEAD_LETTER_DESK_METHODS);
      return [service, desk] as const;
    });
    this.desks = new Map<string, DeadLetterDeskPort>([...others, [OWN, own]]);
  }

  /**
   * Letters by service, topic, partition and offset. A service that does not answer hides nothing of
   * the others; it is named.
   */
  async list(search: DeadLetterSearch): Promise<DeadLetterPage> {
    const { service: only, after, state, topic, limit } = search;
    const letters: DeadLetterView[] = [];
    const unreachable: string[] = [];
    for (const service of LETTER_SERVICES) {
      if (only !== null && service !== only) continue;
      if (after !== null && service < after.service) continue;
      if (letters.length >= limit) break;
      const from = after?.service === service ? after.place : null;
      const listing = { state, topic, after: from, limit: limit - letters.length };
      try {
        letters.push(...(await this.of(service).list(listing)));
      } catch (error) {
        if (service === OWN) throw error;
        this.logger.warn({ service, reason: messageOf(error) }, 'dead letters are not at hand');
        unreachable.push(service);
      }
    }
    return { letters, unreachable };
  }

  /** @throws AppError `dead_letter.unknown` when no such service parks records */
  of(service: string): DeadLetterDeskPort {
    const desk = this.desks.get(service);
    if (desk === undefined) throw unknownDeadLetter();
    return desk;
  }
}

/** Whether the same call may succeed later by itself. */
export function isPassing(error: unknown): boolean {
  return !(error instanceof AppError) || error.kind === 'unavailable' || error.retryable;
}
