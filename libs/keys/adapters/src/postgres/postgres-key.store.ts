import { In, type EntityManager, type FindOptionsWhere } from 'typeorm';

import type { KeyId } from '#libs/kernel';
import type { VirtualKey } from '#libs/keys/core';
import type { EntityTransaction } from '#libs/platform/postgres';

import { KeyDigestEntity } from './key-digest.entity.js';
import { VirtualKeyEntity } from './virtual-key.entity.js';
import { fromVirtualKeyEntity, toVirtualKeyColumns } from './virtual-key.mapping.js';

/** Which keys a list is about; null does not filter. */
export interface KeyFilter {
  readonly orgId: string;
  readonly userId: string | null;
  readonly teamId: string | null;
}

/** What may be stored of a new secret. */
export interface NewDigest {
  /** 64 hex digits. */
  readonly digest: string;
  readonly pepperVersion: string;
}

/** A key as found by one of its secrets. */
export interface FoundKey {
  readonly key: VirtualKey;
  /** When the grace of that secret ends, exclusive, milliseconds UTC; null for the current secret. */
  readonly validUntilMs: number | null;
}

/** How many listed keys and users a team has. */
export interface TeamKeyCounts {
  readonly teamRecordId: string;
  readonly keyCount: number;
  readonly userCount: number;
}

/** A key as team routes list it. */
export interface TeamKey {
  readonly secretName: string;
  readonly userId: string;
  readonly userEmail: string | null;
  readonly createdAtMs: number;
}

/** Keys that team routes list: neither deleted, nor disabled, nor expired at `$1`. */
const LISTED = `enabled AND deleted_at IS NULL AND (expires_at IS NULL OR expires_at >= $1)`;

/** Keys and their digests in schema `auth`. Plain secrets never reach it. */
export class PostgresKeyStore {
  constructor(private readonly manager: () => EntityManager) {}

  /** One key of the organisation; null when there is none. */
  async find(orgId: string, keyId: KeyId): Promise<VirtualKey | null> {
    const row = await this.manager().findOneBy(VirtualKeyEntity, { orgId, keyId });
    return row === null ? null : fromVirtualKeyEntity(row);
  }

  /** The same, locked until the transaction ends. */
  async lock(tx: EntityTransaction, orgId: string, keyId: KeyId): Promise<VirtualKey | null> {
    const row = await tx.manager.findOne(VirtualKeyEntity, {
      where: { orgId, keyId },
      lock: { mode: 'pessimistic_write' },
    });
    return row === null ? null : fromVirtualKeyEntity(row);
  }

  /** Keys in order of creation, then of id. */
  async list(filter: KeyFilter): Promise<VirtualKey[]> {
    const where: FindOptionsWhere<VirtualKeyEntity> = { orgId: filter.orgId };
    if (filter.userId !== null) where.userId = filter.userId;
    if (filter.teamId !== null) where.teamId = filter.teamId;
    const rows = await this.manager().find(VirtualKeyEntity, {
      where,
      order: { createdAtMs: 'ASC', keyId: 'ASC' },
    });
    return rows.map(fromVirtualKeyEntity);
  }

  /** Keys by id, in no order; unknown ids are absent. */
  async findByIds(keyIds: readonly string[]): Promise<VirtualKey[]> {
    const rows = await this.manager().findBy(VirtualKeyEntity, { keyId: In([...keyIds]) });
    return rows.map(fromVirtualKeyEntity);
  }

  /** The key that one of the digests belongs to, also one in its grace at `nowMs`; else null. */
  async findByDigest(digests: readonly string[], nowMs: number): Promise<FoundKey | null> {
    const rows = await this.manager().findBy(KeyDigestEntity, { digest: In([...digests]) });
    const live = rows.find((row) => row.validUntilMs === null || nowMs < row.validUntilMs);
    if (live === undefined) return null;
    const [key] = await this.findByIds([live.keyId]);
    return key === undefined ? null : { key, validUntilMs: live.validUntilMs };
  }

  /** Adds a key with the digest of its secret. */
  async insert(tx: EntityTransaction, key: VirtualKey, digest: NewDigest): Promise<void> {
    await tx.manager.insert(VirtualKeyEntity, toVirtualKeyColumns(key) as object);
    await tx.manager.insert(KeyDigestEntity, {
      ...digest,
      keyId: key.keyId,
      validUntilMs: null,
      createdAtMs: key.createdAtMs,
    });
  }

  /** Writes a changed key whose row is locked. */
  async update(tx: EntityTransaction, key: VirtualKey): Promise<void> {
    const { keyId, ...columns } = toVirtualKeyColumns(key);
    await tx.manager.update(VirtualKeyEntity, { keyId }, columns as object);
  }

  /**
   * Replaces the secret of a key whose row is locked.
   * @param graceUntilMs until when the former secret stays valid; null = it ends now. An older
   *   former one ends in any case.
   */
  async replaceDigest(
    tx: EntityTransaction,
    key: VirtualKey,
    digest: NewDigest,
    graceUntilMs: number | null,
  ): Promise<void> {
    const { keyId } = key;
    const current = await tx.manager.findBy(KeyDigestEntity, { keyId });
    const ended = current.filter((row) => row.validUntilMs !== null || graceUntilMs === null);
    if (ended.length > 0) {
      await tx.manager.delete(KeyDigestEntity, { digest: In(ended.map((row) => row.digest)) });
    }
    if (graceUntilMs !== null) {
      await tx.manager.update(KeyDigestEntity, { keyId }, { validUntilMs: graceUntilMs });
    }
    await tx.manager.insert(KeyDigestEntity, {
      ...digest,
      keyId,
      validUntilMs: null,
      createdAtMs: key.updatedAtMs,
    });
  }

  /** Digests under which a key is found at `nowMs`, the current one first. */
  async digestsOf(tx: EntityTransaction, keyId: KeyId): Promise<string[]> {
    const rows = await tx.manager.findBy(KeyDigestEntity, { keyId });
    const current = rows.filter((row) => row.validUntilMs === null);
    return [...current, ...rows.filter((row) => row.validUntilMs !== null)].map((r) => r.digest);
  }

  /** Whether a user has a listed key in a team. */
  async isMember(teamRecordId: string, userId: string, now: string): Promise<boolean> {
    const rows: unknown[] = await this.manager().query(
      `SELECT 1 FROM virtual_key
       WHERE ${LISTED} AND team_record_id = $2 AND user_id = $3 LIMIT 1`,
      [now, teamRecordId, userId],
    );
    return rows.length > 0;
  }

  /** Listed keys and distinct users per team; teams without any are absent. */
  async countByTeam(orgId: string, now: string): Promise<TeamKeyCounts[]> {
    return this.manager().query(
      `SELECT team_record_id AS "teamRecordId", count(*)::int AS "keyCount",
              count(DISTINCT user_id)::int AS "userCount"
       FROM virtual_key WHERE ${LISTED} AND org_id = $2 AND team_record_id IS NOT NULL
       GROUP BY team_record_id`,
      [now, orgId],
    );
  }

  /** Listed keys of a team in order of creation. @param now RFC 3339 */
  async listOfTeam(teamRecordId: string, now: string): Promise<TeamKey[]> {
    return this.manager().query(
      `SELECT secret_name AS "secretName", user_id AS "userId", user_email AS "userEmail",
              (extract(epoch FROM created_at) * 1000)::float8 AS "createdAtMs"
       FROM virtual_key WHERE ${LISTED} AND team_record_id = $2
       ORDER BY created_at, key_id`,
      [now, teamRecordId],
    );
  }
}
