import type { Connection } from './connection.js';
import { EXIT, Failure } from './failure.js';

/** One call of the HTTP API. */
export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Begins with a slash; segments are percent-encoded. */
  readonly path: string;
  /** Members that are undefined are left out; an array repeats its name. */
  readonly query?: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** JSON text. */
  readonly body?: string;
}

/** How commands reach a running Tollgate. */
export abstract class Api {
  /** Address without trailing slash. */
  abstract readonly url: string;
  /**
   * @returns the JSON text of a 2xx answer, empty for 204
   * @throws Failure 1 for any other status, 3 when there is no answer
   */
  abstract send(request: ApiRequest): Promise<string>;
}

/** Longest wait for an answer, milliseconds. */
const TIMEOUT_MS = 30_000;

/** The API over HTTP with the operator's credential. */
export class HttpApi extends Api {
  readonly url: string;

  constructor(private readonly connection: Connection) {
    super();
    this.url = connection.url;
  }

  async send(request: ApiRequest): Promise<string> {
    const { status, text } = await this.exchange(request);
    if (status >= 200 && status < 300) return text;
    throw new Failure(EXIT.refused, explainRefusal(status, text));
  }

  private async exchange(request: ApiRequest): Promise<{ status: number; text: string }> {
    const headers: Record<string, string> = {
      authorization: `ADMIN ${this.connection.secret}`,
      accept: 'application/json',
    };
    if (request.body !== undefined) headers['content-type'] = 'application/json';
    try {
      const response = await fetch(this.url + targetOf(request), {
        method: request.method,
        headers,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...(request.body === undefined ? {} : { body: request.body }),
      });
      return { status: response.status, text: await response.text() };
    } catch {
      throw new Failure(
        EXIT.unreachable,
        `no answer from ${this.url}: start Tollgate with "npm start", or set TOLLGATE_URL to a running one`,
      );
    }
  }
}

/** Path and query of a request. */
export function targetOf(request: ApiRequest): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(request.query ?? {})) {
    for (const one of value === undefined ? [] : [value].flat()) query.append(name, one);
  }
  return query.size === 0 ? request.path : `${request.path}?${query.toString()}`;
}

const NEXT_STEPS: Readonly<Record<number, string>> = {
  401: 'The operator secret was not accepted: set ADMIN_API_KEY, or DATA_DIR to the folder of this Tollgate.',
  404: 'Look up the id with the "list" command of the same noun.',
  422: 'Correct the value and run the command again; --help shows an example.',
  503: 'Wait until GET /health/ready answers 200, then run the command again.',
};

/** The message of a refusal in any of the dialects of the API, with what to do next. */
export function explainRefusal(status: number, text: string): string {
  const next = NEXT_STEPS[status];
  return `${messageOfBody(text) ?? `refused with status ${status}`}${next === undefined ? '' : `\n${next}`}`;
}

function messageOfBody(text: string): string | null {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof body !== 'object' || body === null) return null;
  const { error, detail, title } = body as Record<string, unknown>;
  if (typeof error === 'string') return error;
  if (typeof error === 'object' && error !== null && 'message' in error) {
    return typeof error.message === 'string' ? error.message : null;
  }
  if (typeof detail === 'string') return detail;
  if (Array.isArray(detail)) return detail.map(faultText).join('\n');
  return typeof title === 'string' ? title : null;
}

/** One entry of a list of validation faults: where, and what is wrong. */
function faultText(fault: unknown): string {
  const { loc, msg } = (fault ?? {}) as Record<string, unknown>;
  const where = Array.isArray(loc) ? loc.filter((part) => part !== 'body').join('.') : '';
  const what = typeof msg === 'string' ? msg : JSON.stringify(fault);
  return where === '' ? what : `${where}: ${what}`;
}
