/** Two peers on loopback that open direct wires to each other; their signals can be changed on the way. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { silentLog } from '../../src/base/log.ts';
import type { BatchHandler, Wire } from '../../src/net/wire.ts';
import { openDirect, type DirectOptions } from '../../src/wire/direct.ts';
import { openDirectListener, type DirectListener } from '../../src/wire/direct-listener.ts';
import type { Signal } from '../../src/wire/signaling.ts';
import { signalPair, type SignalPair } from './signals.ts';

export type Side = 'a' | 'b';

export interface DirectStage extends AsyncDisposable {
  readonly signals: SignalPair;
  readonly listeners: Readonly<Record<Side, DirectListener>>;
  /** One end of a wire; `a` offers. */
  dial(side: Side, more?: Partial<DirectOptions> & { readonly channel?: string }): Promise<Wire>;
  /** Both ends. */
  open(onBatch?: readonly [BatchHandler, BatchHandler]): Promise<readonly [Wire, Wire]>;
}

const HOST = '127.0.0.1';

export async function directStage(change?: (signal: Signal, from: Side) => Signal[]): Promise<DirectStage> {
  const listen = () => openDirectListener({ bindAddress: HOST, log: silentLog });
  const listeners = { a: await listen(), b: await listen() };
  const signals = signalPair(change);
  const dial: DirectStage['dial'] = (side, { channel = 'x', ...more } = {}) =>
    openDirect({
      listener: listeners[side],
      offer: side === 'a',
      pipe: signals[side].pipe({ peer: side === 'a' ? 'b' : 'a', channel, offer: side === 'a' }),
      lan: 1,
      onBatch: () => {},
      timeoutMs: 20_000,
      log: silentLog,
      ...more,
    });
  return {
    signals,
    listeners,
    dial,
    open: ([atA, atB] = [() => {}, () => {}]) =>
      Promise.all([dial('a', { onBatch: atA }), dial('b', { onBatch: atB })]),
    async [Symbol.asyncDispose]() {
      await Promise.all([listeners.a[Symbol.asyncDispose](), listeners.b[Symbol.asyncDispose]()]);
    },
  };
}

/** The signal with other addresses in it. */
export const withCandidates = (signal: Signal, ...ports: readonly number[]): Signal => ({
  ...signal,
  data: { ...(signal.data as object), candidates: ports.map((port) => ({ host: HOST, port })) },
});

export const portOf = (signal: Signal): number =>
  (signal.data as { candidates: readonly { port: number }[] }).candidates[0]!.port;

/** A port at which nobody listens. */
export async function deadPort(): Promise<number> {
  await using server = createServer().listen(0, HOST);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

export interface Valve extends AsyncDisposable {
  readonly port: number;
  /** Where it leads; to be set before anybody comes. */
  target: number;
  /** Neither reads nor writes any more, until it is opened: the senders' buffers fill. */
  shut(): void;
  open(): void;
  /** Breaks all connections: by a reset, or by an end that looks regular. */
  cut(how: 'reset' | 'end'): void;
}

/** A stretch of network between two peers. */
export async function startValve(): Promise<Valve> {
  const sockets = new Set<Socket>();
  let target = 0;
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ host: HOST, port: target, allowHalfOpen: true });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      sockets.add(from);
    }
  }).listen(0, HOST);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    get target() {
      return target;
    },
    set target(port) {
      target = port;
    },
    shut() {
      for (const socket of sockets) socket.pause();
    },
    open() {
      for (const socket of sockets) socket.resume();
    },
    cut(how) {
      for (const socket of sockets)
        if (how === 'reset') socket.resetAndDestroy();
        else socket.end();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
