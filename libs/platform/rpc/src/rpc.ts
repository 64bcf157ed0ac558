import { AppError } from '#libs/kernel';

/** A port offered to other services under a name. */
export interface RpcService {
  readonly name: string;
  readonly methods: ReadonlyMap<string, (args: readonly unknown[]) => Promise<unknown>>;
}

/** How calls reach another service. */
export abstract class RpcTransport {
  /** @throws AppError of the callee, or `rpc.unavailable` when it cannot be reached in time */
  abstract call(service: string, method: string, args: readonly unknown[]): Promise<unknown>;
}

/** Where a service offers its ports. */
export abstract class RpcHost {
  /** Offers a port; a name is offered once. */
  abstract expose(service: RpcService): void;
}

type AsyncMethod = (...args: unknown[]) => Promise<unknown>;

/**
 * Describes an object as a service.
 * @param methods the names that may be called; everything else stays private
 */
export function rpcService<T extends object>(
  name: string,
  target: T,
  methods: readonly (keyof T & string)[],
): RpcService {
  const entries = methods.map((method) => {
    const call = (target[method] as AsyncMethod).bind(target);
    return [method, (args: readonly unknown[]) => call(...args)] as const;
  });
  return { name, methods: new Map(entries) };
}

/** An object with the methods of a port, each forwarded through the transport. */
export function rpcClient<T extends object>(
  transport: RpcTransport,
  name: string,
  methods: readonly (keyof T & string)[],
): T {
  const entries = methods.map((method) => [
    method,
    (...args: unknown[]) => transport.call(name, method, args),
  ]);
  return Object.fromEntries(entries) as T;
}

/** Services in this process. */
export class RpcServices extends RpcHost {
  private readonly services = new Map<string, RpcService>();

  expose(service: RpcService): void {
    if (this.services.has(service.name)) {
      throw new Error(`service ${service.name} is offered twice`);
    }
    this.services.set(service.name, service);
  }

  /** @throws AppError `rpc.unknown_method` */
  find(service: string, method: string): (args: readonly unknown[]) => Promise<unknown> {
    const found = this.services.get(service)?.methods.get(method);
    if (found !== undefined) return found;
    throw new AppError({
      code: 'rpc.unknown_method',
      kind: 'not_found',
      publicMessage: `no method ${service}/${method} is offered here`,
    });
  }
}

/**
 * Transport and host in one, for services in one process: a call is a call. The callee is looked up
 * when called, so that the order in which services start does not matter.
 */
export class LocalRpc extends RpcTransport implements RpcHost {
  private readonly services = new RpcServices();

  expose(service: RpcService): void {
    this.services.expose(service);
  }

  async call(service: string, method: string, args: readonly unknown[]): Promise<unknown> {
    return this.services.find(service, method)(args);
  }
}
