/** Version of the tables below; a file of another version is refused. */
export const FILE_FORMAT = 1;

/** Size of a page. */
export const PAGE_BYTES = 4_096;

/** Name of the database inside the spool's directory. */
export const DATABASE_FILE = 'spool.db';

/**
 * Settings of the one connection. EXCLUSIVE comes first: there is then no shared-memory file and a
 * second opener is refused; `auto_vacuum` works only before the first table. The checkpoint of 1000
 * pages keeps the log near 4 MiB while a file is copied; the writer turns it off and does its own.
 */
export function pragmas(ack: 'process' | 'fsync'): string {
  return `
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA page_size = ${PAGE_BYTES};
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = ${ack === 'fsync' ? 'FULL' : 'NORMAL'};
    PRAGMA wal_autocheckpoint = 1000;
    PRAGMA trusted_schema = OFF;
  `;
}

/**
 * Creates the tables of a new file:
 *
 * spool_meta    one row. acked_pos: rows up to it are published. trim_floor: rows up to it may be
 *               deleted. crc: over format, emitter, acked_pos
 *               and trim_floor. clean: 1 after an orderly close.
 * spool         publishable events, append-only, one row each, a few GiB at most. closes: number of the
 *               attempt that the event ends, 0 for none. body: headers and data, framed.
 * spool_lane    highest sequence deleted per lane, so that no sequence is ever used twice;
 *               lane -1: the same for lanes that a salvage found nothing of.
 * journal       attempts before they are sent, one row per commit that opened any: attempts pos ..
 *               pos + count - 1. An attempt is open when it stands here and no event behind spool_pos
 *               closes it; a row is deleted some time after its last attempt ended.
 * progress      output seen per open attempt.
 * acknowledged  when the log had acknowledged up to a position, one row a minute at most; at trim_floor
 *               when the newest of the rows deleted was written, or when the file was salvaged.
 */
export const CREATE_TABLES = `
  CREATE TABLE spool_meta(
    id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL,
    emitter_id BLOB NOT NULL CHECK (length(emitter_id) = 16), created_us INTEGER NOT NULL,
    acked_pos INTEGER NOT NULL, trim_floor INTEGER NOT NULL, crc INTEGER NOT NULL,
    clean INTEGER NOT NULL) STRICT;
  CREATE TABLE spool(
    pos INTEGER PRIMARY KEY, lane INTEGER NOT NULL, seq INTEGER NOT NULL, closes INTEGER NOT NULL,
    event_id BLOB NOT NULL, at_us INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;
  CREATE UNIQUE INDEX spool_seq ON spool(lane, seq);
  CREATE TABLE spool_lane(lane INTEGER PRIMARY KEY, trimmed_seq INTEGER NOT NULL) STRICT;
  CREATE TABLE journal(
    pos INTEGER PRIMARY KEY, count INTEGER NOT NULL, spool_pos INTEGER NOT NULL,
    at_us INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;
  CREATE TABLE progress(attempt INTEGER PRIMARY KEY, tokens_out INTEGER NOT NULL) STRICT;
  CREATE TABLE acknowledged(pos INTEGER PRIMARY KEY, at_us INTEGER NOT NULL) STRICT;
  CREATE TRIGGER spool_no_update BEFORE UPDATE ON spool
    BEGIN SELECT RAISE(ABORT, 'spool is append-only'); END;
  CREATE TRIGGER spool_no_delete BEFORE DELETE ON spool
    WHEN OLD.pos > (SELECT trim_floor FROM spool_meta)
    BEGIN SELECT RAISE(ABORT, 'row not trimmable'); END;
`;
