import { eventHeaders, laneTarget, type EventDescription } from '#libs/events';
import type { EventLog, LogRecordInput } from '#libs/event-log/core';
import { EventPublisher, type Publication, type SpooledEvent } from '#libs/spool/core';

/**
 * Publishes spooled events to the event log; topic and partition follow from the lane. Events sent once
 * more carry the header `resend=1`.
 */
export class LogEventPublisher extends EventPublisher {
  constructor(
    private readonly eventLog: Pick<EventLog, 'append'>,
    private readonly logPartitions: number,
  ) {
    super();
  }

  async publish(
    events: readonly SpooledEvent[],
    emitterId: string,
    publication: Publication,
  ): Promise<void> {
    const records = events.map((event) => this.recordOf(event, emitterId));
    await this.eventLog.append(publication === 'resend' ? records.map(marked) : records);
  }

  private recordOf(event: SpooledEvent, emitterId: string): LogRecordInput {
    const { lane, sequence, eventId, body, headers } = event;
    const keyId = headers['ce_subject']!;
    const description: EventDescription = {
      id: eventId,
      type: headers['ce_type']!,
      service: 'proxy',
      time: headers['ce_time']!,
      subject: keyId,
      partitionKey: keyId,
      stream: { emitterId, lane, sequence },
    };
    return {
      ...laneTarget(lane, this.logPartitions),
      key: keyId,
      headers: { ...eventHeaders(description) },
      value: body,
    };
  }
}

function marked(record: LogRecordInput): LogRecordInput {
  return { ...record, headers: { ...record.headers, resend: '1' } };
}
