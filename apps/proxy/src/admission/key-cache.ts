import { hash } from 'node:crypto';

import type { Clock } from '#libs/kernel';
import { keyDigests, type KeyDirectory, type KeyRecord, type Peppers } from '#libs/keys/core';

import type { BudgetBlocks } from './budget-blocks.js';
import { principalOf, type Principal } from './principal.js';

/** Age at which a record is fetched anew behind the back of the request that uses it, milliseconds. */
const FRESH_MS = 20_000;
/** Age beyond which a request waits for the record to be fetched anew, milliseconds. */
const CURRENT_MS = 30_000;
/** Age beyond which a record is not used even while the directory cannot be asked, milliseconds. */
const USABLE_MS = 600_000;
/** After a failed fetch no request waits for another one for so long, milliseconds. */
const EXCUSED_MS = 5_000;
/** How long an unknown string is refused without asking, milliseconds. */
const UNKNOWN_MS = 30_000;
/** Most keys kept; the oldest entry makes room. */
const MAX_KEYS = 200_000;
/** Most unknown strings remembered; a flood of wrong keys pushes out only other wrong keys. */
const MAX_UNKNOWN = 10_000;
/** How often a fetch is repeated because keys changed meanwhile. */
const MAX_REFETCHES = 3;

interface Entry {
  readonly principal: Principal;
  readonly digests: readonly string[];
  /** Monotonic milliseconds. */
  fetchedAtMs: number;
}

/** What the cache is made of. */
export interface KeyCacheParts {
  readonly directory: Pick<KeyDirectory, 'findByDigest'>;
  readonly peppers: Peppers;
  readonly blocks: BudgetBlocks;
  readonly clock: Clock;
  readonly logPartitions: number;
  /** Told when a refresh failed; the record stays in use until it is too old. */
  readonly onRefreshError: (error: unknown) => void;
}

/**
 * Keys by the SHA-256 of the presented string. A hit on a key in use costs one hash and one look-up and
 * never waits; a miss asks the key directory once, however many requests wait for it. Changes are
 * pushed: `drop…` and `reblock` are called for what the log tells. Nothing rests on that: as long as
 * the directory answers, no request is judged by a record older than 30 s.
 */
export class KeyCache {
  private readonly entries = new Map<string, Entry>();
  private readonly tagsByKey = new Map<string, Set<string>>();
  private readonly unknown = new Map<string, number>();
  private readonly fetches = new Map<string, Promise<Principal | null>>();
  /** Grows with each change heard of, so that a fetch knows whether it was overtaken. */
  private changes = 0;
  /** When the directory last could not be asked, monotonic; -Infinity once it answered again. */
  private failedAtMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly parts: KeyCacheParts) {}

  /**
   * The principal of a presented string; null for an unknown one.
   * @throws AppError when the directory cannot be asked and nothing usable is cached
   */
  lookup(presented: string): Principal | null | Promise<Principal | null> {
    const tag = hash('sha256', presented, 'base64');
    const nowMs = this.parts.clock.monotonicMs();
    const entry = this.entries.get(tag);
    if (entry !== undefined) {
      const ageMs = nowMs - entry.fetchedAtMs;
      if (ageMs < FRESH_MS) return entry.principal;
      if (ageMs >= USABLE_MS) return this.fetch(tag, entry.digests);
      if (ageMs >= CURRENT_MS && nowMs - this.failedAtMs >= EXCUSED_MS) {
        return this.current(tag, entry);
      }
      this.fetch(tag, entry.digests).catch(this.parts.onRefreshError);
      return entry.principal;
    }
    const unknownAtMs = this.unknown.get(tag);
    if (unknownAtMs !== undefined && nowMs - unknownAtMs < UNKNOWN_MS) return null;
    return this.fetch(tag, keyDigests(this.parts.peppers, presented));
  }

  /** Something of this key changed: its next request asks the directory. */
  dropKey(keyId: string): void {
    this.noteChange();
    for (const tag of this.tagsByKey.get(keyId) ?? []) this.remove(tag);
  }

  /** Something of every key below a subject changed. O(keys cached). */
  dropWhere(concerns: (principal: Principal) => boolean): void {
    this.noteChange();
    for (const [tag, { principal }] of this.entries) if (concerns(principal)) this.remove(tag);
  }

  /** Applies what was just heard of a subject's budgets to the keys below it. */
  reblock(scope: string, subjectId: string): void {
    this.noteChange();
    const tags = scope === 'key' ? (this.tagsByKey.get(subjectId) ?? []) : this.entries.keys();
    for (const tag of tags) {
      const { principal, fetchedAtMs } = this.entries.get(tag)!;
      if (principal.subjects.some((s) => s.scope === scope && s.subjectId === subjectId)) {
        principal.block = this.parts.blocks.blockOf(principal, fetchedAtMs);
      }
    }
  }

  private noteChange(): void {
    this.changes++;
    this.unknown.clear();
  }

  /** The record as it is now; the one at hand while the directory cannot be asked. */
  private async current(tag: string, entry: Entry): Promise<Principal | null> {
    try {
      return await this.fetch(tag, entry.digests);
    } catch (error) {
      // Something of it changed meanwhile: what is at hand is known to be wrong.
      if (this.entries.get(tag) !== entry) throw error;
      this.parts.onRefreshError(error);
      return entry.principal;
    }
  }

  private fetch(tag: string, digests: readonly string[]): Promise<Principal | null> {
    let fetch = this.fetches.get(tag);
    if (fetch === undefined) {
      fetch = this.ask(tag, digests).finally(() => this.fetches.delete(tag));
      this.fetches.set(tag, fetch);
    }
    return fetch;
  }

  private async ask(tag: string, digests: readonly string[]): Promise<Principal | null> {
    const { clock, logPartitions } = this.parts;
    for (let round = 1; ; round++) {
      const before = this.changes;
      const askedAtMs = clock.monotonicMs();
      const record = await this.find(digests);
      const isOvertaken = before !== this.changes;
      if (isOvertaken && round < MAX_REFETCHES) continue;
      this.remove(tag);
      if (record === null) {
        if (!isOvertaken) this.rememberUnknown(tag, askedAtMs);
        return null;
      }
      const principal = principalOf(record, logPartitions);
      principal.block = this.parts.blocks.blockOf(principal, askedAtMs);
      if (!isOvertaken) this.keep(tag, { principal, digests, fetchedAtMs: askedAtMs });
      return principal;
    }
  }

  private async find(digests: readonly string[]): Promise<KeyRecord | null> {
    try {
      const record = await this.parts.directory.findByDigest(digests);
      this.failedAtMs = Number.NEGATIVE_INFINITY;
      return record;
    } catch (error) {
      this.failedAtMs = this.parts.clock.monotonicMs();
      throw error;
    }
  }

  private keep(tag: string, entry: Entry): void {
    if (this.entries.size >= MAX_KEYS) this.remove(this.entries.keys().next().value!);
    this.entries.set(tag, entry);
    const { keyId } = entry.principal.record;
    const tags = this.tagsByKey.get(keyId);
    if (tags === undefined) this.tagsByKey.set(keyId, new Set([tag]));
    else tags.add(tag);
  }

  private remove(tag: string): void {
    const entry = this.entries.get(tag);
    if (entry === undefined) return;
    this.entries.delete(tag);
    const { keyId } = entry.principal.record;
    const tags = this.tagsByKey.get(keyId);
    tags?.delete(tag);
    if (tags?.size === 0) this.tagsByKey.delete(keyId);
  }

  private rememberUnknown(tag: string, atMs: number): void {
    if (this.unknown.size >= MAX_UNKNOWN) this.unknown.delete(this.unknown.keys().next().value!);
    this.unknown.set(tag, atMs);
  }
}
