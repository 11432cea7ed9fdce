/** What a wire costs: `node test/bench/direct.ts [--webrtc] [--rounds n] [--gigabytes n]`. Two processes over loopback, batch by batch, interleaved with the same code without TLS. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { silentLog } from '../../src/base/log.ts';
import type { BatchHandler, Wire } from '../../src/net/wire.ts';
import { openDirectListener } from '../../src/wire/direct-listener.ts';
import { openStream } from '../../src/wire/direct-stream.ts';
import { openDirect } from '../../src/wire/direct.ts';
import { createSignalRouter, type Signal } from '../../src/wire/signaling.ts';
import { openWebrtc } from '../../src/wire/webrtc.ts';

type Kind = 'tcp' | 'direct' | 'webrtc';

/** Frames of one batch, each behind QEMU's four bytes, and the header. */
const batchBytes = (frames: number, bytes: number) => 16 + frames * (4 + bytes);
const SHAPES = [
  [1, 1514],
  [8, 1514],
  [43, 1514],
  [1, 9014],
  [7, 9014],
  [1, 65_014],
] as const;

interface Order {
  readonly kind: Kind;
  readonly channel: string;
  readonly port?: number;
}

const HOST = '127.0.0.1';
const listener = await openDirectListener({ bindAddress: HOST, log: silentLog });
const child = process.send ? undefined : fork(new URL(import.meta.url));
const other = child ?? process;
const router = createSignalRouter({
  log: silentLog,
  send: async (_, signal) => void other.send!({ signal }),
});
const heard = Promise.withResolvers<void>();
other.on('message', ({ signal }: { readonly signal?: Signal }) => {
  if (signal) router.dispatch('other', signal.channel, signal.session, signal.data);
  else heard.resolve();
});

async function open(order: Order, onBatch: BatchHandler, socket?: Socket): Promise<Wire> {
  if (socket) return openStream({ socket: socket.setNoDelay(true), onBatch });
  const offer = child !== undefined;
  const pipe = router.pipe({ peer: 'other', channel: order.channel, offer });
  const common = { offer, pipe, onBatch, log: silentLog };
  return order.kind === 'direct'
    ? openDirect({ ...common, listener, lan: 1 })
    : openWebrtc({ ...common, bindAddress: HOST });
}

const usedSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** The far end: opens what it is told, echoes small batches, says what it spent. */
async function serve(): Promise<void> {
  let received = 0;
  const obey = async (order: Order) => {
    const socket = order.port ? connect(order.port, HOST) : undefined;
    if (socket) await once(socket, 'connect');
    const wire: Wire = await open(
      order,
      (batch) => {
        received += batch.length;
        if (batch[0] === 255) wire.send(batch);
      },
      socket,
    );
    void wire.closed.then(() => wire[Symbol.asyncDispose]());
  };
  process.on('message', ({ order, ask: asked }: { readonly order?: Order; readonly ask?: true }) => {
    if (asked) process.send!({ received, cpu: usedSeconds() });
    if (order) void obey(order);
  });
  process.send!({ ready: true });
}

async function ask(): Promise<{ readonly received: number; readonly cpu: number }> {
  child!.send({ ask: true });
  for (;;) {
    const [message] = (await once(child!, 'message')) as [{ received?: number; cpu?: number }];
    if (message.received !== undefined) return message as { received: number; cpu: number };
  }
}

let count = 0;
async function pair(kind: Kind, onBatch: BatchHandler): Promise<Wire> {
  const channel = `x${count++}`;
  if (kind !== 'tcp') {
    child!.send({ order: { kind, channel } });
    return open({ kind, channel }, onBatch);
  }
  await using server = createServer().listen(0, HOST);
  await once(server, 'listening');
  child!.send({ order: { kind, channel, port: (server.address() as AddressInfo).port } });
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  return openStream({ socket: socket.setNoDelay(true), onBatch });
}

interface Result {
  readonly mbps: number;
  readonly cpuPerGB: number;
}

async function stream(kind: Kind, size: number, bytes: number): Promise<Result> {
  await using wire = await pair(kind, () => {});
  const batch = new Uint8Array(size).fill(1);
  const send = async (total: number) => {
    const { received } = await ask();
    for (let sent = 0; sent < total;) {
      if (wire.stats().queuedBytes < 786_432 && wire.send(batch)) sent += size;
      // Not setImmediate: a sender that spins would be charged for waiting.
      else await wait(1);
    }
    while ((await ask()).received < received + total) await wait(1);
  };
  await send(bytes / 10);
  const before = { at: performance.now(), cpu: usedSeconds() + (await ask()).cpu };
  await send(bytes);
  const seconds = (performance.now() - before.at) / 1000;
  return {
    mbps: (bytes * 8) / 1e6 / seconds,
    cpuPerGB: (usedSeconds() + (await ask()).cpu - before.cpu) / (bytes / 1e9),
  };
}

async function roundTrip(kind: Kind): Promise<readonly [p50: number, p99: number]> {
  let back = Promise.withResolvers<void>();
  await using wire = await pair(kind, () => back.resolve());
  const batch = new Uint8Array(batchBytes(1, 98)).fill(255);
  const times: number[] = [];
  for (let i = 0; i < 3000; i++) {
    back = Promise.withResolvers<void>();
    const start = performance.now();
    wire.send(batch);
    await back.promise;
    if (i >= 1000) times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return [times[1000]!, times[1980]!];
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { webrtc: { type: 'boolean' }, rounds: { type: 'string' }, gigabytes: { type: 'string' } },
  });
  const kinds: Kind[] = ['tcp', 'direct', ...(values.webrtc ? (['webrtc'] as const) : [])];
  const bytes = Number(values.gigabytes ?? 0.5) * 1e9;
  await heard.promise;
  process.stdout.write(
    `${'frames x bytes'.padEnd(18)}${kinds.map((kind) => `${kind.padStart(8)} Mbit/s  CPU-s/GB`).join('')}\n`,
  );
  for (const [frames, length] of SHAPES) {
    const results = new Map<Kind, Result[]>(kinds.map((kind) => [kind, []]));
    for (let round = 0; round < Number(values.rounds ?? 3); round++) {
      for (const kind of kinds)
        results.get(kind)!.push(await stream(kind, batchBytes(frames, length), kind === 'webrtc' ? bytes / 10 : bytes));
    }
    const cells = [...results.values()].map(
      (all) =>
        `${median(all.map(({ mbps }) => mbps))
          .toFixed(0)
          .padStart(15)}${median(all.map(({ cpuPerGB }) => cpuPerGB))
          .toFixed(2)
          .padStart(10)}`,
    );
    process.stdout.write(`${`${frames} x ${length}`.padEnd(18)}${cells.join('')}\n`);
  }
  for (const kind of kinds) {
    const [p50, p99] = await roundTrip(kind);
    process.stdout.write(
      `${kind.padEnd(8)} round trip p50 ${(p50 * 1000).toFixed(0)} us, p99 ${(p99 * 1000).toFixed(0)} us\n`,
    );
  }
  child!.kill();
  process.exit(0);
}

await (child ? main() : serve());
