/** Bundles over simulated connections: they grow while that helps, keep flows together, and go away as one. */
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { encodeBatch, FRAMES, PROBE } from '../../../src/net/batch.ts';
import type { BatchHandler, Wire } from '../../../src/net/wire.ts';
import { openBundle, type BundleOptions } from '../../../src/wire/bundle.ts';
import { memoryPair } from '../../../src/wire/memory.ts';
import { wireContract } from '../../contract/wire.ts';
import { frame, macOf, runOfFrames } from '../../harness/frames.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const TICK_MS = 20;
const QUEUE_BYTES = 262_144;

/** One way over a connection with a congestion window of its own, on a path that all of them share. */
function slowWires(clock: ReturnType<typeof virtualClock>, perConnection: number, path: number) {
  const ways: { queue: Uint8Array[]; queued: number; credit: number; deliver: BatchHandler }[] = [];
  clock.every(TICK_MS, () => {
    let left = path * TICK_MS;
    for (const way of ways) {
      way.credit = Math.min(way.credit + perConnection * TICK_MS, perConnection * 100);
      for (let next = way.queue[0]; next && next.length <= way.credit && next.length <= left; next = way.queue[0]) {
        way.queue.shift();
        way.queued -= next.length;
        way.credit -= next.length;
        left -= next.length;
        way.deliver(next);
      }
    }
    ways.push(...ways.splice(0, 1)); // whose turn it is first
  });
  return (deliver: BatchHandler) => {
    const way = { queue: [] as Uint8Array[], queued: 0, credit: 0, deliver };
    ways.push(way);
    return way;
  };
}

interface World {
  /** Bytes per millisecond of one connection, and of the path. */
  readonly perConnection?: number;
  readonly path?: number;
  readonly spare?: boolean;
  readonly far?: boolean;
}

/** Both ends of a bundle; each connection opens when both ends have asked for its number. */
async function world({ perConnection = 100, path = 100_000, spare = true, far = false }: World = {}) {
  const clock = virtualClock();
  const newWay = slowWires(clock, perConnection, path);
  const halves = new Map<number, { onBatch: BatchHandler; resolve: (wire: Wire) => void }>();
  const arrived: Uint8Array[] = [];
  const wires: [Wire, Wire][] = [];
  const asked: number[] = [];

  const open: BundleOptions['open'] = (number, signal, onBatch) => {
    asked.push(number);
    const { promise, resolve, reject } = Promise.withResolvers<Wire>();
    signal.addEventListener('abort', () => reject(signal.reason as Error));
    const other = halves.get(number);
    if (!other) halves.set(number, { onBatch, resolve });
    else {
      halves.delete(number);
      const pair = connect(onBatch, other.onBatch);
      wires.push(pair);
      resolve(pair[0]);
      other.resolve(pair[1]);
    }
    return promise;
  };

  function connect(...onBatch: [BatchHandler, BatchHandler]): [Wire, Wire] {
    const ends = [0, 1].map((side) => ({
      way: newWay((batch) => onBatch[1 - side]!(batch)),
      closed: Promise.withResolvers<string>(),
      sentBytes: 0,
      drops: 0,
      open: true,
    }));
    const close = (side: number, reason: string) => {
      ends[side]!.open = false;
      ends[side]!.way.queue.length = 0;
      ends[side]!.way.queued = 0;
      ends[side]!.closed.resolve(reason);
    };
    return ends.map((end, side) => ({
      rung: 'memory' as const,
      maxBatch: 65_536,
      send(batch: Uint8Array) {
        if (!end.open || end.way.queued + batch.length > QUEUE_BYTES) return end.drops++ < 0;
        end.way.queue.push(new Uint8Array(batch));
        end.way.queued += batch.length;
        end.sentBytes += batch.length;
        return true;
      },
      stats: () => ({ sentBytes: end.sentBytes, receivedBytes: 0, drops: end.drops, queuedBytes: end.way.queued }),
      closed: end.closed.promise,
      async [Symbol.asyncDispose]() {
        close(side, 'closed by us');
        close(1 - side, 'closed by the peer');
      },
    })) as unknown as [Wire, Wire];
  }

  const bundle = (offer: boolean, onBatch: BatchHandler) =>
    openBundle({
      offer,
      open,
      onBatch,
      clock,
      log: silentLog,
      signal: new AbortController().signal,
      hasSpareCpu: () => spare,
      path: () => ({ roundTripMs: far ? 80 : 1, loss: 0 }),
    });
  const [a, b] = await Promise.all([
    bundle(true, () => {}),
    bundle(false, (batch) => arrived.push(new Uint8Array(batch))),
  ]);

  const live = () => wires.filter(([end]) => end.send(new Uint8Array(0))).length;
  /** Sends as much as is taken, for so long; promises get their turns. */
  const flood = async (seconds: number, flows = 16) => {
    for (let step = 0; step < (seconds * 1000) / TICK_MS; step++) {
      for (let flow = 0; flow < flows; flow++) for (let i = 0; i < 2; i++) a.send(batchOf(flow, sequence++));
      clock.advance(TICK_MS);
      await Promise.resolve();
    }
  };
  const rest = async (seconds: number) => {
    for (let step = 0; step < seconds * 10; step++) {
      clock.advance(100);
      await Promise.resolve();
    }
  };
  let sequence = 0;
  return { clock, a, b, arrived, wires, asked, live, flood, rest };
}

const batchOf = (flow: number, sequence: number) =>
  encodeBatch(
    { type: FRAMES, ttl: 1, source: 1, destination: 2, lan: 1, epoch: 0, life: flow, sequence },
    runOfFrames(frame({ to: macOf(2), from: macOf(flow + 10), length: 1514 })),
  );
const flowIn = (batch: Uint8Array) => (batch[10]! << 8) | batch[11]!;
const sequenceIn = (batch: Uint8Array) => Buffer.from(batch).readUInt32BE(12);

describe('a bundle', () => {
  test('that is not used stays one connection', async () => {
    const { rest, live } = await world();
    await rest(30);
    expect(live()).toBe(1);
  });

  test('whose connections have small windows grows to four, and carries four times as much', async () => {
    const { flood, live, arrived } = await world();
    await flood(2);
    const one = arrived.length;
    await flood(30);
    expect(live()).toBe(4);
    const before = arrived.length;
    await flood(2);
    expect(arrived.length - before).toBeGreaterThan(3.5 * one);
  });

  test('on a far path grows to eight', async () => {
    const { flood, live } = await world({ far: true });
    await flood(60);
    expect(live()).toBe(8);
  });

  test('does not grow when the processor is the limit', async () => {
    const { flood, live } = await world({ spare: false });
    await flood(20);
    expect(live()).toBe(1);
  });

  test('on a path that is full anyway tries one more, sees no gain, and leaves it at that', async () => {
    const { flood, live } = await world({ perConnection: 10_000, path: 100 });
    await flood(40);
    expect(live()).toBe(2);
  });

  test('nothing of a flow overtakes anything of it, while connections come and go', async () => {
    const { flood, rest, arrived, wires } = await world();
    await flood(15);
    await wires[1]![0][Symbol.asyncDispose]();
    await flood(5);
    await rest(10);
    const last = new Map<number, number>();
    for (const batch of arrived) {
      expect(sequenceIn(batch)).toBeGreaterThan(last.get(flowIn(batch)) ?? -1);
      last.set(flowIn(batch), sequenceIn(batch));
    }
    expect(last.size).toBe(16);
  });

  test('gives back what nobody uses, and grows again later', async () => {
    const { flood, rest, live } = await world();
    await flood(20);
    expect(live()).toBe(4);
    await rest(62);
    expect(live()).toBe(1);
    await flood(20);
    expect(live()).toBe(4);
  });

  test('sends hellos on the first connection, so that they measure one path', async () => {
    const { flood, rest, a, wires } = await world();
    await flood(20);
    await rest(1);
    const sent = () => wires.map(([one, other]) => one.stats().sentBytes + other.stats().sentBytes);
    const before = sent();
    const probe = encodeBatch({
      type: PROBE,
      ttl: 1,
      source: 1,
      destination: 2,
      lan: 1,
      epoch: 0,
      life: 0,
      sequence: 1,
    });
    expect(a.send(probe)).toBe(true);
    expect(sent().map((bytes, i) => bytes - before[i]!)).toEqual([probe.length, 0, 0, 0]);
  });

  test('ends with its first connection, and takes all with it', async () => {
    const { flood, wires, a, b, live } = await world();
    await flood(20);
    await wires[0]![0][Symbol.asyncDispose]();
    expect([await a.closed, await b.closed].toSorted()).toEqual(['closed by the peer', 'closed by us']);
    expect(live()).toBe(0);
    expect(a.send(batchOf(1, 1))).toBe(false);
  });

  test('opens nothing for a peer that asks for its own numbers, none, or too many', async () => {
    const { wires, rest, asked } = await world();
    const fromB = wires[0]![0];
    for (const bytes of [[], [0x47], [0x47, 0], [0x47, 1], [0x47, 15], [0x47, 16], [0x47, 2, 2], [1, 2]]) {
      fromB.send(Uint8Array.from(bytes));
    }
    await rest(2);
    expect(asked).toEqual([0, 0]);
    fromB.send(Uint8Array.of(0x47, 2));
    await rest(2);
    expect(asked).toEqual([0, 0, 2]);
  });

  test('opens nothing for a peer that asks before the first connection is there', async () => {
    const asked: number[] = [];
    const stop = new AbortController();
    const opening = openBundle({
      offer: true,
      open: async (number, _signal, onBatch) => {
        asked.push(number);
        onBatch(Uint8Array.of(0x47, 2));
        await Promise.resolve();
        throw new Error('no path');
      },
      onBatch: () => {},
      clock: virtualClock(),
      log: silentLog,
      signal: stop.signal,
      hasSpareCpu: () => false,
    });
    await expect(opening).rejects.toThrow('no path');
    expect(asked).toEqual([0]);
  });
});

wireContract('bundle', async (onBatch) => {
  const clock = virtualClock();
  const [a, b] = memoryPair({ onBatch });
  const open = (wire: Wire, offer: boolean) =>
    openBundle({
      offer,
      open: async () => wire,
      onBatch: () => {},
      clock,
      log: silentLog,
      signal: new AbortController().signal,
      hasSpareCpu: () => false,
    });
  return [await open(a, true), await open(b, false)];
});
