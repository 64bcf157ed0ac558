import { killAt } from './kill-at-failpoint.js';

const metering = 'metering';
const enforcer = 'budget-enforcer';
/** Without an answer of the budget guard no call of a budgeted key is sent. */
const GUARD_AWAY = ['budget_unavailable', 'service_unavailable'];

/** Kills of metering and of the budget guard at every step of a batch. */
export const METERING_KILLS = [
  killAt({
    id: 'D1',
    guarantee: 'killed before the plan: the batch is cut again',
    service: metering,
    failpoint: 'sink.after_read',
    mostHits: 5,
  }),
  killAt({
    id: 'D2',
    guarantee: 'killed after the plan: the same batch is formed again',
    service: metering,
    failpoint: 'sink.after_plan',
    mostHits: 5,
  }),
  killAt({
    id: 'D4',
    guarantee: 'killed between insert and commit: each row once',
    service: metering,
    failpoint: 'sink.after_insert',
    mostHits: 5,
  }),
  killAt({
    id: 'D4',
    guarantee: 'killed just before the commit: each row once',
    service: metering,
    failpoint: 'sink.before_commit',
    mostHits: 5,
  }),
  killAt({
    id: 'D5',
    guarantee: 'killed after the commit: nothing changes',
    service: metering,
    failpoint: 'sink.after_commit',
    mostHits: 5,
  }),
  killAt({
    id: 'D5',
    guarantee: 'killed before a seal: the batch is sealed after the start',
    service: metering,
    failpoint: 'seal.before',
    mostHits: 3,
  }),
  killAt({
    id: 'D5',
    guarantee: 'killed after a seal, before it is noted: sealed again, counted once',
    service: metering,
    failpoint: 'seal.after',
    mostHits: 3,
  }),
  killAt({
    id: 'H2',
    guarantee: 'killed after a rated message is sent, before that is noted: applied once',
    service: metering,
    failpoint: 'outbox.after_send',
    mostHits: 4,
  }),
  killAt({
    id: 'H2',
    guarantee: 'killed after the mark of a rated message: applied once',
    service: metering,
    failpoint: 'outbox.after_mark',
    mostHits: 4,
  }),
  killAt({
    id: 'H3',
    guarantee: 'the budget guard killed before it applies a rated batch: applied once',
    service: enforcer,
    failpoint: 'rated.before_apply',
    mostHits: 4,
    allows5xx: GUARD_AWAY,
  }),
  killAt({
    id: 'H3',
    guarantee: 'the budget guard killed in the transaction of a rated batch: applied once',
    service: enforcer,
    failpoint: 'rated.after_apply',
    mostHits: 4,
    allows5xx: GUARD_AWAY,
  }),
  killAt({
    id: 'E6',
    guarantee: 'the budget guard killed while it writes a block: announced once in effect',
    service: enforcer,
    failpoint: 'block.after_write',
    profile: 'exact',
    mostHits: 1,
    allows5xx: GUARD_AWAY,
  }),
  killAt({
    id: 'E7',
    guarantee: 'the worker of an enforcement job killed: the key is revoked all the same',
    service: enforcer,
    failpoint: 'job.start',
    profile: 'exact',
    mostHits: 1,
    allows5xx: GUARD_AWAY,
  }),
];
