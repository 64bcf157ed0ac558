import {
  EVENT_KIND,
  eventIdOf,
  REQUEST_REJECTED_V1,
  type RejectionReason,
  type RequestRejectedV1,
} from '#libs/events';
import { toRfc3339, type RequestId } from '#libs/kernel';
import { admitsAttempts, type Spool, type SpoolEvent } from '#libs/spool/core';

import type { Principal } from '../admission/principal.js';
import type { ProxyMetrics } from '../metrics/proxy-metrics.js';

/** A refusal of a known key. */
export interface Rejection {
  readonly requestId: RequestId;
  readonly principal: Principal;
  readonly modelRequested: string | null;
  readonly reason: RejectionReason;
  /** The code the caller saw. */
  readonly code: string;
  /** Milliseconds UTC. */
  readonly atMs: number;
}

/** The event of a refusal. */
export function rejectionEvent(rejection: Rejection): SpoolEvent {
  const { requestId, principal, reason, code, atMs } = rejection;
  const { orgId, keyId, teamId, userId } = principal.record;
  const eventId = eventIdOf(requestId, 1, EVENT_KIND.rejected);
  const event: RequestRejectedV1 = {
    event_id: eventId,
    request_id: requestId,
    org_id: orgId,
    key_id: keyId,
    team_id: teamId,
    user_id: userId,
    model_requested: rejection.modelRequested,
    reason,
    code,
    occurred_at: toRfc3339(atMs),
  };
  return {
    lane: principal.rejectedLane,
    eventId,
    body: Buffer.from(JSON.stringify(event)),
    headers: { ce_type: REQUEST_REJECTED_V1, ce_time: event.occurred_at, ce_subject: keyId },
    closes: null,
  };
}

/** What a journal of refusals is made of. */
export interface RejectionJournalParts {
  readonly spool: Pick<Spool, 'append' | 'health'>;
  /** Counts a refusal that is not written down. */
  readonly metrics: Pick<ProxyMetrics, 'rejectionUnrecorded'>;
  /** Told of the first of those in a row. */
  readonly onDropped: (error: unknown) => void;
}

/**
 * Writes refusals into the spool without making the caller wait. A refusal costs nothing, so one that
 * the spool could not take (queue full, writer gone) is counted, not retried. While the spool admits no
 * attempts none is written: what room is left belongs to the records of answers in flight.
 */
export class RejectionJournal {
  private isDropping = false;

  constructor(private readonly parts: RejectionJournalParts) {}

  write(rejection: Rejection): void {
    const { spool } = this.parts;
    const health = spool.health();
    if (!admitsAttempts(health)) return this.drop(new Error(`the spool is ${health}`));
    spool.append(rejectionEvent(rejection)).then(
      () => {
        this.isDropping = false;
      },
      (error: unknown) => this.drop(error),
    );
  }

  private drop(error: unknown): void {
    this.parts.metrics.rejectionUnrecorded();
    if (!this.isDropping) this.parts.onDropped(error);
    this.isDropping = true;
  }
}
