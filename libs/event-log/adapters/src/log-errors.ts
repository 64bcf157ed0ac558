import { AppError, messageOf } from '#libs/kernel';

/** A topic or partition that was never provisioned. */
export function unknownTopic(what: string): AppError {
  return new AppError({
    code: 'event_log.unknown_topic',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `event log: ${what}`,
  });
}

/** An offset outside of what the log holds. */
export function outOfRange(what: string): AppError {
  return new AppError({
    code: 'event_log.out_of_range',
    kind: 'internal',
    publicMessage: 'internal error',
    internalMessage: `event log: ${what}`,
  });
}

/** The log cannot be reached; the same call may succeed later. */
export function unavailable(cause: unknown): AppError {
  return new AppError({
    code: 'event_log.unavailable',
    kind: 'unavailable',
    publicMessage: 'the event log is not available',
    internalMessage: `event log: ${messageOf(cause)}`,
    retryable: true,
    cause,
  });
}

/** An append, or one record of it, that the log will never take. */
export function tooLarge(sizeBytes: number, mostBytes: number): AppError {
  return new AppError({
    code: 'event_log.too_large',
    kind: 'invalid',
    publicMessage: `an append of ${sizeBytes} bytes is above ${mostBytes}`,
  });
}

/** A topic has another partition count than the configuration asks for. */
export function partitionsChanged(topic: string, before: number, now: number): AppError {
  return new AppError({
    code: 'event_log.partitions_changed',
    kind: 'conflict',
    publicMessage:
      `topic ${topic} was made with ${before} partitions and LOG_PARTITIONS asks for ${now}; ` +
      `the count is fixed for the life of a deployment: set it back to ${before}`,
  });
}

/** A topic was made with other settings than the product needs; `what` names the difference. */
export function topicDiffers(topic: string, what: string): AppError {
  return new AppError({
    code: 'event_log.topic_differs',
    kind: 'conflict',
    publicMessage: `topic ${topic} has ${what}; change the topic, or remove it while it is empty`,
  });
}

/** The brokers do not let us in. */
export function loginRefused(cause: unknown): AppError {
  return new AppError({
    code: 'event_log.login_refused',
    kind: 'unavailable',
    publicMessage: 'the event log is not available',
    internalMessage: `event log: the brokers refuse the login: ${messageOf(cause)}`,
    retryable: true,
    cause,
  });
}

/** The log deals partitions out by its group alone. */
export function fixedUnsupported(): AppError {
  return new AppError({
    code: 'event_log.fixed_unsupported',
    kind: 'invalid',
    publicMessage: 'fixed partitions need the event log on Kafka',
  });
}
