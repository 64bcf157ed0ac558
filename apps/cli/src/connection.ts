import { EXIT, Failure, usageFailure } from './failure.js';

/** Where a running Tollgate is and what opens it. */
export interface Connection {
  /** Without trailing slash. */
  readonly url: string;
  /** The operator secret; never printed. */
  readonly secret: string;
}

/** Where `npm start` listens when nothing says otherwise. */
const DEFAULT_URL = 'http://127.0.0.1:8080';

/**
 * Address and credential: `TOLLGATE_URL` and `ADMIN_API_KEY`, else what a started Tollgate left in its
 * data folder (`standalone.json`, `secrets.json`). They are never taken from arguments, which other
 * users of a machine can read.
 * @param readData text of a file in the data folder, null when it is not there
 * @throws Failure 2 for an address that is no URL, 3 when no credential is to be found
 */
export function findConnection(
  environment: Readonly<Record<string, string | undefined>>,
  readData: (name: string) => string | null,
): Connection {
  const url =
    environment['TOLLGATE_URL'] || memberOf(readData('standalone.json'), 'url') || DEFAULT_URL;
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw usageFailure(`TOLLGATE_URL "${url}" is not a URL that begins with http:// or https://`);
  }
  const secret =
    environment['ADMIN_API_KEY'] || memberOf(readData('secrets.json'), 'ADMIN_API_KEY');
  if (secret === undefined) {
    throw new Failure(
      EXIT.unreachable,
      'no operator secret found: run "npm start" once on this machine, or set ADMIN_API_KEY\n' +
        '(with another DATA_DIR than .tollgate, set DATA_DIR as well)',
    );
  }
  return { url: url.replace(/\/+$/, ''), secret };
}

function memberOf(text: string | null, name: string): string | undefined {
  if (text === null) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return undefined;
    const member: unknown = Reflect.get(value, name);
    return typeof member === 'string' && member !== '' ? member : undefined;
  } catch {
    // A half-written file of a Tollgate that is just starting reads as absent.
    return undefined;
  }
}
