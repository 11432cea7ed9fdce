/** What does the webrtc wire cost? Two processes on loopback, packets as on Ethernet: `node test/bench/webrtc.ts [seconds]`. Mbit/s and CPU-seconds per GB, both ends. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { silentLog } from '../../src/base/log.ts';
import { createSignalRouter, type Signal } from '../../src/wire/signaling.ts';
import { openWebrtc } from '../../src/wire/webrtc.ts';
import { HEADER_BYTES } from '../../src/net/batch.ts';
import type { Wire } from '../../src/net/wire.ts';

/** Frames in a batch and bytes in a frame. */
const ROWS = [
  [1, 1514],
  [8, 1514],
  [43, 1514],
  [1, 9014],
  [7, 9014],
] as const;
/** As much as a guest's TCP keeps under way. */
const IN_FLIGHT = 786_432;

interface Bus {
  send(message: unknown): void;
  onMessage(handler: (message: never) => void): void;
}

async function open(offer: boolean, bus: Bus, onBatch: (batch: Uint8Array) => void): Promise<Wire> {
  const router = createSignalRouter({ log: silentLog, send: async (_, signal) => bus.send({ signal }) });
  bus.onMessage((message: { signal?: Signal }) => {
    if (message.signal) router.dispatch('peer', message.signal.channel, message.signal.session, message.signal.data);
  });
  return openWebrtc({
    bindAddress: '127.0.0.1',
    log: silentLog,
    offer,
    pipe: router.pipe({ peer: 'peer', channel: 'x', offer }),
    onBatch,
    // Packets as on Ethernet, not as on loopback.
    path: { narrow: false },
  });
}

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** The receiving end counts, and says its counters when asked. */
async function receive(): Promise<void> {
  let bytes = 0;
  let batches = 0;
  const bus: Bus = {
    send: (message) => process.send!(message),
    onMessage: (use) => process.on('message', use as never),
  };
  process.on('message', (message) => {
    if (message === 'counters') process.send!({ counters: { bytes, batches, cpu: cpuSeconds() } });
  });
  const wire = await open(false, bus, (batch) => {
    bytes += batch.length;
    batches++;
  });
  await wire.closed;
  process.exit();
}

async function send(): Promise<void> {
  const seconds = Number(process.argv[2] ?? 3);
  const child = fork(process.argv[1]!, ['receive']);
  const bus: Bus = {
    send: (message) => child.send(message as object),
    onMessage: (use) => child.on('message', use as never),
  };
  const wire = await open(true, bus, () => {});
  const counters = async (): Promise<{ bytes: number; batches: number; cpu: number }> => {
    child.send('counters');
    for (;;) {
      const [message] = (await once(child, 'message')) as [
        { counters?: { bytes: number; batches: number; cpu: number } },
      ];
      if (message.counters) return message.counters;
    }
  };
  process.stdout.write('frames  bytes    Mbit/s  batches/s  CPU s/GB: sender receiver both\n');
  for (const [frames, bytes] of ROWS) {
    const batch = new Uint8Array(HEADER_BYTES + frames * (4 + bytes)).fill(7);
    let left = 0;
    const run = async (ms: number) => {
      const end = performance.now() + ms;
      while (performance.now() < end) {
        for (let i = 0; i < 1000 && wire.stats().queuedBytes < IN_FLIGHT; i++) if (wire.send(batch)) left++;
        await setTimeout(1);
      }
    };
    await run(500);
    const [before, cpu, start] = [await counters(), cpuSeconds(), performance.now()];
    await run(seconds * 1000);
    const [after, cpuNow, end] = [await counters(), cpuSeconds(), performance.now()];
    const gigabytes = (after.bytes - before.bytes) / 1e9;
    const row = [
      (gigabytes * 8000) / ((end - start) / 1000),
      ((after.batches - before.batches) * 1000) / (end - start),
    ];
    const costs = [cpuNow - cpu, after.cpu - before.cpu].map((spent) => spent / gigabytes);
    process.stdout.write(
      `${String(frames).padStart(6)} ${String(bytes).padStart(6)} ${row.map((n) => n.toFixed(0).padStart(9)).join(' ')}            ` +
        `${[...costs, costs[0]! + costs[1]!].map((n) => n.toFixed(2).padStart(6)).join(' ')}\n`,
    );
    while (wire.stats().queuedBytes > 0) await setTimeout(1);
  }
  await wire[Symbol.asyncDispose]();
}

await (process.argv[2] === 'receive' ? receive() : send());
