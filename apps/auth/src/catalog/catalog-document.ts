/** The members of a catalogue document that this release reads, as its JSON Schema admits them. */
export interface CatalogDocument {
  readonly models: readonly CatalogModel[];
  readonly providers: readonly CatalogProvider[];
}

/** One entry of `models`. */
export interface CatalogModel {
  readonly id: string;
  readonly aliases?: readonly string[];
  readonly created?: number;
  readonly enabled?: boolean;
  readonly limits?: {
    readonly context_tokens?: number | null;
    readonly max_input_tokens?: number | null;
    readonly max_output_tokens?: number | null;
    readonly hold_input_from_limit?: boolean;
  };
  readonly call_ceiling_usd?: string | null;
  readonly routes: readonly {
    readonly provider: string;
    readonly model: string;
    readonly order?: number;
  }[];
}

/** One entry of `providers`. */
export interface CatalogProvider {
  readonly name: string;
  readonly type: string;
  readonly base_url: string;
  readonly credential_env?: string | null;
  readonly usage_in_stream?: 'inject' | 'always' | 'none';
}
