import type { KeyBlock } from '#libs/events';

/** What the data plane needs to know of a key; one record, so that a cache hit needs no second look. */
export interface KeyRecord {
  /** UUID, dashed lower case. */
  readonly keyId: string;
  readonly orgId: string;
  readonly userId: string;
  readonly teamId: string | null;
  /** Set when `teamId` named no team when the key was made: it is reported, and no team's budget sees it. */
  readonly teamIsLabel?: true;
  readonly enabled: boolean;
  readonly deleted: boolean;
  /** Milliseconds UTC; null = never. Found by a former secret, the end of its grace if that is sooner. */
  readonly expiresAtMs: number | null;
  /** Exact names, prefixes ending in `*`, or `*` alone. */
  readonly allowedModels: readonly string[];
  /** Set while an exhausted budget covers the key. */
  readonly block: KeyBlock | null;
  /** Enabled budgets that cover the key; without one no hold is asked for. */
  readonly budgetIds: readonly string[];
  readonly rev: number;
}

/** One entry of the served catalogue. */
export interface ServedModel {
  readonly id: string;
  readonly aliases: readonly string[];
  /** Unix seconds. */
  readonly created: number;
  readonly limits: {
    readonly contextTokens: number | null;
    readonly maxInputTokens: number | null;
    readonly maxOutputTokens: number | null;
    /** The input part of a hold is `maxInputTokens` whatever the request's size. */
    readonly holdInputFromLimit: boolean;
  };
  /** Held and settled per call when the model has no price; null = such calls are refused. */
  readonly callCeilingPicoUsd: bigint | null;
  /** In order of preference. */
  readonly routes: readonly { readonly provider: string; readonly model: string }[];
}

/** One upstream of the served catalogue; its credential stays in the environment of the proxy. */
export interface ServedProvider {
  readonly name: string;
  readonly type: string;
  /** Absolute, without trailing slash; `/chat/completions` is appended. */
  readonly baseUrl: string;
  /** Name of the environment variable that holds the credential; null = none is needed. */
  readonly credentialEnv: string | null;
  /** `inject`: ask for usage in streams; `always`: it comes unasked; `none`: never. */
  readonly usageInStream: 'inject' | 'always' | 'none';
}

/** The catalogue in force. */
export interface ServedCatalog {
  /** SHA-256 of the document, 64 hex digits. */
  readonly digest: string;
  readonly models: readonly ServedModel[];
  readonly providers: readonly ServedProvider[];
}

/** Keys and catalogue as the data plane asks auth for them. */
export abstract class KeyDirectory {
  /**
   * Finds a key by the keyed digests of the presented string, one per live pepper, newest first.
   * @param digests 64 hex digits each, at most 4
   * @returns null when no key has one of them; a deleted key is found and says so
   */
  abstract findByDigest(digests: readonly string[]): Promise<KeyRecord | null>;
  /** Records of keys by id; unknown ids are absent. At most 1000 ids. */
  abstract findByIds(keyIds: readonly string[]): Promise<readonly KeyRecord[]>;
  /** The catalogue in force. */
  abstract catalog(): Promise<ServedCatalog>;
}

/** The name under which auth exposes `KeyDirectory` to other services. */
export const KEY_DIRECTORY_SERVICE = 'auth.keys';

/** The methods of `KeyDirectory`, as exposed between services. */
export const KEY_DIRECTORY_METHODS = ['findByDigest', 'findByIds', 'catalog'] as const;
