import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** Stands between clients and a server; connections can fall silent without being closed. */
export interface SilentProxy {
  /** The server's URL, by way of the proxy. */
  readonly url: string;
  /** Passes nothing on any more over the connections that are open; later ones work. */
  silence(): void;
  close(): Promise<void>;
}

/** Opens a proxy before the server of a URL. */
export async function openSilentProxy(serverUrl: string): Promise<SilentProxy> {
  const target = new URL(serverUrl);
  const sockets: Socket[] = [];
  const proxy = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    sockets.push(client, upstream);
    client.pipe(upstream).pipe(client);
  });
  await new Promise<void>((listening) => proxy.listen(0, '127.0.0.1', listening));
  const url = new URL(serverUrl);
  url.port = String((proxy.address() as AddressInfo).port);
  url.hostname = '127.0.0.1';
  return {
    url: url.toString(),
    silence: () => {
      for (const socket of sockets) socket.unpipe().pause();
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => proxy.close(closed));
    },
  };
}
