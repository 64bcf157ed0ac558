import { killAt } from './kill-at-failpoint.js';

const proxy = 'proxy';

/** Kills of the proxy at every step of an attempt, of the spool and of the relay. */
export const PROXY_KILLS = [
  killAt({
    id: 'A1',
    guarantee: 'killed before the hold: no row, no hold',
    service: proxy,
    failpoint: 'admit.before_hold',
    mostHits: 30,
  }),
  killAt({
    id: 'A2',
    guarantee: 'killed after the hold, before upstream bytes: the hold is given back',
    service: proxy,
    failpoint: 'admit.after_hold',
    mostHits: 30,
  }),
  killAt({
    id: 'A2',
    guarantee: 'killed before the first byte is sent: the hold is given back, or one row at it',
    service: proxy,
    failpoint: 'dispatch.before_sent',
    mostHits: 30,
  }),
  killAt({
    id: 'A3',
    guarantee: 'killed with requests sent and unanswered: one row each at the hold',
    service: proxy,
    failpoint: 'dispatch.after_sent',
    mostHits: 30,
    profile: 'slow',
  }),
  killAt({
    id: 'A4',
    guarantee: 'killed in mid-stream: one row each, between what was delivered and the hold',
    service: proxy,
    failpoint: 'stream.chunk',
    mostHits: 120,
    profile: 'streams',
  }),
  killAt({
    id: 'A5',
    guarantee: 'killed before the outcome is committed: one row each, never above the hold',
    service: proxy,
    failpoint: 'outcome.before_commit',
    mostHits: 30,
  }),
  killAt({
    id: 'A6',
    guarantee: 'killed after the outcome is committed: one measured row',
    service: proxy,
    failpoint: 'outcome.after_commit',
    mostHits: 30,
  }),
  killAt({
    id: 'A6',
    guarantee: 'killed around a commit of the spool: all of the group or nothing of it',
    service: proxy,
    failpoint: 'spool.commit',
    mostHits: 40,
  }),
  killAt({
    id: 'A7',
    guarantee: 'killed before a batch is sent: it is sent after the start',
    service: proxy,
    failpoint: 'relay.before_send',
    mostHits: 8,
  }),
  killAt({
    id: 'A7',
    guarantee: 'killed after a batch was sent: it is sent again and counted once',
    service: proxy,
    failpoint: 'relay.after_send',
    mostHits: 8,
  }),
  killAt({
    id: 'A8',
    guarantee: 'killed before the acknowledgement is stored: sent again and counted once',
    service: proxy,
    failpoint: 'relay.after_ack',
    mostHits: 8,
  }),
];
