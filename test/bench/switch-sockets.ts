/**
 * The switch alone, between the sockets of two guests: throughput, CPU time and round trip against one direct socket.
 * `node test/bench/switch-sockets.ts [seconds per run] [rounds] [frame bytes...]`, interleaved, medians. The guests are processes
 * that do as QEMU does: one write per frame, reads of 69,632 bytes.
 */
import { spawn, type StdioOptions } from 'node:child_process';
import { readSync, writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { openNetdev } from '../../src/guest/netdev.ts';
import { createSwitch } from '../../src/net/switch.ts';
import type { Wire } from '../../src/net/wire.ts';
import { addressOf, macOf, runOfFrames } from '../harness/frames.ts';
import { ethernet, ETHERTYPE, ipv4 } from '../harness/packets.ts';

const QEMU_READ = 69_632;
const MTU = 65_000;
const [role = 'bench', ...rest] = process.argv.slice(2);
const network = Number(rest[2]);
const ANSWERS = 4;

/** TCP, as far as the guards can see. */
function tcpFrame(length: number, from: number, to: number): Uint8Array {
  const packet = ipv4({ from: addressOf(from), to: addressOf(to), protocol: 6 }, Array<number>(length - 34).fill(7));
  return runOfFrames(ethernet({ from: macOf(from), to: macOf(to), type: ETHERTYPE.ipv4 }, packet));
}

/** So much may be under way, as TCP's window would have it: below what the port holds for a guest, so that nothing is dropped. */
const WINDOW = 393_216;
/** The receiver acknowledges this many bytes at a time. */
const STEP = 65_536;

const guests: Record<string, (length: number, seconds: number) => unknown> = {
  source(length, seconds) {
    const frame = tcpFrame(length, 1, 2);
    const ack = tcpFrame(60, 2, 1).length;
    let sent = 0;
    let acked = 0;
    const window = (limit: number) => {
      for (; sent - acked > limit; acked += STEP) readWhole(ack);
    };
    const send = (until: number) => {
      for (; sent < until; sent += frame.length) {
        window(WINDOW);
        writeWhole(network, frame);
      }
    };
    send(8 * WINDOW); // until everybody is there and warm
    const before = acked;
    const start = performance.now();
    while (performance.now() - start < seconds * 1000) send(sent + WINDOW);
    return { mbits: ((acked - before) * 8) / 1000 / (performance.now() - start), bytes: acked };
  },
  sink() {
    const ack = tcpFrame(60, 2, 1);
    const buffer = new Uint8Array(QEMU_READ);
    let bytes = 0;
    for (;;) {
      bytes += readSome(buffer, 0, buffer.length);
      for (; bytes >= STEP; bytes -= STEP) writeWhole(network, ack);
    }
  },
  ping(length, seconds) {
    const frame = tcpFrame(length, 1, 2);
    const times: number[] = [];
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      const start = performance.now();
      writeWhole(network, frame);
      readWhole(frame.length);
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    return { p50: times[times.length >> 1], p99: times[Math.floor(times.length * 0.99)] };
  },
  echo(length) {
    const frame = tcpFrame(length, 2, 1);
    for (;;) {
      readWhole(frame.length);
      writeWhole(network, frame);
    }
  },
};

function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
}
const scratch = new Uint8Array(QEMU_READ);
function readWhole(length: number): void {
  for (let at = 0; at < length;) at += readSome(scratch, at, length - at);
}
function readSome(into: Uint8Array, at: number, most: number): number {
  const count = readSync(network, into, at, most, null);
  if (count === 0) throw new Error('the other guest is gone');
  return count;
}

interface Guest {
  readonly network: Socket;
  readonly answer: Promise<Record<string, number>>;
}

/** Its network is one end of a socket pair, whose other end we or another guest have. It must block, as QEMU's does. */
function startGuest(kind: string, length: number, seconds: number, peer?: Socket): Guest {
  // What is inherited keeps our end's O_NONBLOCK, but for the standard streams (uv_spawn).
  const fd = peer ? 1 : 3;
  const stdio: StdioOptions = ['ignore', peer ?? 'ignore', 'inherit', 'pipe', 'pipe'];
  const options = [kind, length, seconds, fd].map(String);
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), ...options], { stdio });
  let text = '';
  child.stdio[ANSWERS]!.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const answer = new Promise<Record<string, number>>((resolve) => {
    child.once('close', () => resolve(text === '' ? {} : (JSON.parse(text) as Record<string, number>)));
  });
  return { network: child.stdio[3] as unknown as Socket, answer };
}

async function direct(from: string, to: string, length: number, seconds: number) {
  const second = startGuest(to, length, seconds);
  const first = startGuest(from, length, seconds, second.network);
  second.network.destroy();
  return { ...(await first.answer), ...(await second.answer) } as Record<string, number>;
}

async function switched(from: string, to: string, length: number, seconds: number) {
  const second = startGuest(to, length, seconds);
  const first = startGuest(from, length, seconds);
  const cpu = process.cpuUsage();
  const sockets = [first.network, second.network];
  const nodes = [1, 2];
  const switches = nodes.map((node) => createSwitch({ node, lan: 1, clock: systemClock, mtu: MTU }));
  const ports = sockets.map((socket, i) =>
    openNetdev({
      name: `guest-${i}`,
      socket,
      mtu: MTU,
      log: silentLog,
      onRun: (run, headroom) => switches[i]!.fromPort(run, headroom),
    }),
  );
  for (const [i, sw] of switches.entries()) {
    const directory = nodes.map((node) => ({ node, mac: macOf(node), address: addressOf(node) }));
    sw.setGraph({ epoch: 1, edges: [[1, 2]], links: [2 - i], directory, server: 1 });
    sw.attachWire(
      2 - i,
      wireTo((batch) => switches[1 - i]!.fromWire(i + 1, batch)),
    );
    sw.attachPort(ports[i]!);
  }
  const answers = await first.answer;
  const used = process.cpuUsage(cpu);
  const drops = ports[1]!.stats().drops;
  await ports[1]![Symbol.asyncDispose]();
  const other = await second.answer;
  await ports[0]![Symbol.asyncDispose]();
  const seconds_ = (used.user + used.system) / 1e6;
  return { ...answers, ...other, drops, cpu: seconds_ / ((answers['bytes'] ?? 0) / 1e9) } as Record<string, number>;
}

const wireTo = (receive: (batch: Uint8Array) => void): Wire => ({
  rung: 'memory',
  maxBatch: 262_144,
  send: (batch) => (receive(batch), true),
  stats: () => ({ sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 }),
  closed: new Promise(() => {}),
  async [Symbol.asyncDispose]() {},
});

const median = (list: readonly number[]) => list.toSorted((a, b) => a - b)[list.length >> 1]!;

async function bench(seconds: number, rounds: number, lengths: readonly number[]): Promise<void> {
  process.stdout.write(
    'bytes   direct Mbit/s  switch Mbit/s  ratio   CPU s/GB   direct p50 µs  switch p50 µs  added\n',
  );
  for (const length of lengths) {
    const rows: Record<string, number>[] = [];
    for (let i = 0; i < rounds; i++) {
      const a = await direct('source', 'sink', length, seconds);
      const b = await switched('source', 'sink', length, seconds);
      const c = await direct('ping', 'echo', length, seconds / 2);
      const d = await switched('ping', 'echo', length, seconds / 2);
      rows.push({
        direct: a['mbits']!,
        switch: b['mbits']!,
        ratio: b['mbits']! / a['mbits']!,
        cpu: b['cpu']!,
        drops: b['drops']!,
        p50: c['p50']! * 1000,
        switchP50: d['p50']! * 1000,
      });
    }
    const of = (key: string) => median(rows.map((row) => row[key]!));
    const cells = [length, of('direct').toFixed(0), of('switch').toFixed(0), of('ratio').toFixed(2), of('cpu').toFixed(2), of('p50').toFixed(0), of('switchP50').toFixed(0), (of('switchP50') - of('p50')).toFixed(0)]; // prettier-ignore
    process.stdout.write(
      `${cells.map((cell, i) => String(cell).padEnd([8, 15, 15, 8, 11, 15, 15, 5][i]!)).join('')} drops ${of('drops')}\n`,
    );
  }
}

const guest = guests[role];
if (guest) {
  try {
    const answer = guest(Number(rest[0]), Number(rest[1]));
    if (answer) writeSync(ANSWERS, JSON.stringify(answer));
  } catch {
    // The other guest has had enough.
  }
  process.exit(0); // standard output is the network, and not for Node to flush
} else {
  const [seconds = 2, rounds = 3, ...lengths] = process.argv.slice(2).map(Number);
  await bench(seconds, rounds, lengths.length > 0 ? lengths : [60, 1514, 9014, 65_014]);
}
