/** A TCP proxy that fails on demand: cuts, goes mute, delays, refuses. */
import { connect, createServer, type Socket } from 'node:net';

export interface FaultProxy extends AsyncDisposable {
  readonly port: number;
  /** Times at which clients came, by the given clock. */
  readonly arrivals: readonly number[];
  /** All that clients sent. */
  readonly fromClients: Buffer;
  /** Breaks the live connections without a farewell. */
  cut(): void;
  /** Accepts and reads, passes nothing on in either direction. */
  mute(on: boolean): void;
  /** Closes each new connection at once. */
  refuse(on: boolean): void;
  /** Holds each chunk back this long. */
  delay(ms: number): void;
}

export async function startFaultProxy(options: {
  readonly host?: string;
  readonly port: number;
  readonly now?: () => number;
}): Promise<FaultProxy> {
  const { host = '127.0.0.1', now = () => performance.now() } = options;
  const live = new Set<Socket>();
  const arrivals: number[] = [];
  const heard: Buffer[] = [];
  let muted = false;
  let refusing = false;
  let delayMs = 0;

  const pass = (from: Socket, to: Socket, hear: boolean) => {
    from.on('data', (data: Buffer) => {
      if (hear) heard.push(data);
      if (muted) return;
      if (delayMs === 0) to.write(data);
      else setTimeout(() => to.write(data), delayMs);
    });
    from.on('error', () => to.destroy());
    from.on('close', () => {
      live.delete(from);
      to.destroy();
    });
    live.add(from);
  };

  const server = createServer((client) => {
    arrivals.push(now());
    client.on('error', () => {});
    if (refusing) return void client.destroy();
    const upstream = connect({ host, port: options.port });
    pass(client, upstream, true);
    pass(upstream, client, false);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  const cut = () => {
    for (const socket of live) socket.destroy();
  };
  return {
    port: address.port,
    arrivals,
    get fromClients() {
      return Buffer.concat(heard);
    },
    cut,
    mute: (on) => void (muted = on),
    refuse: (on) => void (refusing = on),
    delay: (ms) => void (delayMs = ms),
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
