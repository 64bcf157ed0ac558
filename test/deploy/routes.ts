import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { PROJECT, textOf } from './dockerfile.js';

/** Where the edge of the compose file sends paths with a prefix. */
export interface EdgeRoute {
  readonly prefix: string;
  readonly service: string;
  readonly port: string;
}

const LOCATION =
  /location (\/\S+) \{\s+set \$\w+ http:\/\/([a-z-]+):(\d+);\s+proxy_pass \$\w+;\s+\}/g;

/** The routes of docker/edge.conf, the longest prefix first: nginx takes the longest that fits. */
export function edgeRoutes(): readonly EdgeRoute[] {
  return [...textOf('docker/edge.conf').matchAll(LOCATION)]
    .map(([, prefix = '', service = '', port = '']) => ({ prefix, service, port }))
    .toSorted((a, b) => b.prefix.length - a.prefix.length);
}

/** The paths of every HTTP controller, as (app, path); read from the sources. */
export function controllerPaths(): readonly (readonly [app: string, path: string])[] {
  return readdirSync(join(PROJECT, 'apps')).flatMap((app) =>
    readdirSync(join(PROJECT, 'apps', app), { recursive: true })
      .map(String)
      .filter((file) => file.startsWith('src/') && file.endsWith('.controller.ts'))
      .flatMap((file) => [...textOf(`apps/${app}/${file}`).matchAll(/@Controller\('([^']+)'\)/g)])
      .map(([, path = '']) => [app, path.startsWith('/') ? path : `/${path}`] as const),
  );
}
