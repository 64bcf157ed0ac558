import {
  EVENT_KIND,
  eventIdOf,
  REQUEST_REJECTED_V1,
  type RejectionReason,
  type RequestRejectedV1,
} from '#libs/events';
import { toRfc3339, type RequestId } from '#libs/kernel';
import type { Spool, SpoolEvent } from '#libs/spool/core';

import type { Principal } from '../admission/principal.js';

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

/**
 * Writes refusals into the spool without making the caller wait. A refusal costs nothing, so one that
 * the spool could not take (queue full, writer gone) is counted, not retried.
 */
export class RejectionJournal {
  constructor(
    private readonly spool: Pick<Spool, 'append'>,
    private readonly onDropped: (error: unknown) => void,
  ) {}

  write(rejection: Rejection): void {
    this.spool.append(rejectionEvent(rejection)).catch(this.onDropped);
  }
}
