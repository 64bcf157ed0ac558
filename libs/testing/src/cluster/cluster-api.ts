/** Whatever a JSON body holds; tests state what they expect of it. */
export type ClusterJson = ReturnType<typeof JSON.parse>;

/** An answer of the product's HTTP interface. */
export interface ClusterAnswer {
  readonly status: number;
  readonly body: ClusterJson;
}

/** The public HTTP interface of a cluster, as its operator uses it. */
export class ClusterApi {
  constructor(
    private readonly urls: { readonly auth: string; readonly reporting: string },
    private readonly operatorSecret: string,
  ) {}

  /** A call of the control plane; the body is JSON when there is one. */
  admin(method: string, path: string, body?: unknown): Promise<ClusterAnswer> {
    return this.call(method, `${this.urls.auth}${path}`, body);
  }

  /** The answer of `GET /v1/usage`. */
  usage(query = ''): Promise<ClusterAnswer> {
    return this.call('GET', `${this.urls.reporting}/v1/usage?${query}`);
  }

  /** A new key; with `max_budget` it has a budget of its own. @throws Error when it is refused */
  async createKey(
    members: Readonly<Record<string, unknown>> = {},
  ): Promise<{ readonly id: string; readonly key: string }> {
    const { status, body } = await this.admin('POST', '/api/keys', { name: 'test', ...members });
    if (status !== 201) throw new Error(`no key was made: ${status} ${JSON.stringify(body)}`);
    return { id: body.key_data.id, key: body.key };
  }

  /** A new team with a budget. @throws Error when it is refused */
  async createTeam(teamId: string, limitUsd: string): Promise<void> {
    const team = await this.admin('POST', '/teams', { team_id: teamId, team_name: teamId });
    if (team.status >= 300) throw new Error(`no team was made: ${team.status}`);
    const budget = await this.admin('PUT', '/api/budgets', {
      scope: 'team',
      scope_id: teamId,
      period: 'total',
      limit_usd: limitUsd,
    });
    if (budget.status >= 300) throw new Error(`no budget was made: ${budget.status}`);
  }

  private async call(method: string, url: string, body?: unknown): Promise<ClusterAnswer> {
    const response = await fetch(url, {
      method,
      headers: {
        authorization: `ADMIN ${this.operatorSecret}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? null : JSON.parse(text) };
  }
}
