/** The paths a server has routes for, to tell an unknown path (404) from an unknown method (405). */
export class RouteTable {
  private readonly patterns = new Map<string, RegExp>();

  /** @param pattern a route's path with `:name` and `*` parts */
  add(pattern: string): void {
    if (pattern === '*' || pattern === '/*' || this.patterns.has(pattern)) return;
    const source = pattern.split('/').map(sourceOfPart).join('/');
    this.patterns.set(pattern, new RegExp(`^${source}/?$`));
  }

  /** Whether some method has a route for this path. */
  has(path: string): boolean {
    return [...this.patterns.values()].some((pattern) => pattern.test(path));
  }
}

function sourceOfPart(part: string): string {
  if (part.startsWith(':')) return '[^/]+';
  if (part === '*') return '.*';
  return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
