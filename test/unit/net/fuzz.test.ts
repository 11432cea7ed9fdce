/** A million inputs that nobody should send: nothing throws, nothing illegal gets to a guest or a peer, nothing grows. */
import { describe, expect, test } from 'vitest';
import { createRunReader } from '../../../src/guest/runs.ts';
import {
  checkRun,
  decodeHeader,
  encodeBatch,
  FLOOD,
  FRAMES,
  frames,
  HEADER_BYTES,
  NOTE,
  PROBE,
  runOf,
  type BatchType,
} from '../../../src/net/batch.ts';
import { createDirectory, MAX_LEARNED } from '../../../src/net/directory.ts';
import { inspect } from '../../../src/net/guard.ts';
import { neighbourAnswer, speaksFrom } from '../../../src/net/neighbour-proxy.ts';
import { createSwitch } from '../../../src/net/switch.ts';
import type { Wire } from '../../../src/net/wire.ts';
import { addressOf, BROADCAST, frame, macOf, runOfFrames } from '../../harness/frames.ts';
import { LAN } from '../../harness/lan.ts';
import {
  arp,
  ethernet,
  ETHERTYPE,
  fragment,
  icmpv6,
  ipv4,
  ipv6,
  linkLocal,
  OPTIONS,
  udp,
} from '../../harness/packets.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const { ipv4: IPV4, arp: ARP, ipv6: IPV6, vlan: VLAN } = ETHERTYPE;
const MTU = 1500;
const LONGEST = MTU + 18;
const MAX_BATCH = 20_000;
const SEGMENT = 3;
const NODES = [1, 2, SEGMENT, 4];
const PLACES = NODES.map((node) => ({ node, mac: macOf(node), address: addressOf(node), segment: node === SEGMENT }));
const PLANNED = new Map(PLACES.map(({ node, mac }) => [mac.replaceAll(':', ''), node]));

let inputs = 0;
/** Small, fast and the same each time (mulberry32). */
function seeded(seed: number) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
  return { next, below: (limit: number) => next() % limit };
}
type Random = ReturnType<typeof seeded>;

/** Whatever honest guests say, from each place, as frames. */
function honest(node: number): Uint8Array[] {
  const from = macOf(node);
  const to = macOf((node % 4) + 1);
  const ip = (protocol: number, payload: readonly number[], more = {}) =>
    ipv4({ from: addressOf(node), to: addressOf((node % 4) + 1), protocol, ...more }, payload);
  const ip6 = (
    next: number,
    payload: readonly number[],
    extensions: readonly (readonly [number, readonly number[]])[] = [],
  ) => ipv6({ from: linkLocal(from), next, extensions }, payload);
  return [
    ethernet({ from, type: ARP }, arp(1, from, addressOf(node), addressOf((node % 4) + 1))),
    ethernet({ from, to, type: ARP }, arp(2, from, addressOf(node), addressOf((node % 4) + 1))),
    ethernet({ from, to, type: IPV4 }, ip(6, Array<number>(40).fill(0))),
    ethernet({ from, to, type: IPV4 }, ip(17, udp(4000, 53), { options: 3 })),
    ethernet({ from, type: IPV4 }, ip(17, udp(68, 67), { fragment: 0x2000 })),
    ethernet({ from, to: '33:33:ff:00:00:01', type: IPV6 }, ip6(58, icmpv6(135, linkLocal(to)))),
    ethernet({ from, to, type: IPV6 }, ip6(58, icmpv6(136, linkLocal(from)))),
    ethernet({ from, type: IPV6 }, ip6(17, udp(546, 547), [[0, OPTIONS], [44, fragment(0, true)]])), // prettier-ignore
    ethernet({ from, to, type: IPV4, tags: [[VLAN, 0]] }, ip(1, [8, 0, 0, 0])),
    ethernet({ from, type: 200 }, [0xaa, 0xaa, 3, 0, 0, 0, 8, 0]),
    frame({ from, to, length: 14 }),
    frame({ from, to: BROADCAST, length: LONGEST }),
    frame({ from, to: '52:54:00:00:00:09', length: 600 }),
    frame({ from, to: BROADCAST, length: LONGEST + 1 }), // not quite
  ];
}

const GIANTS = [0, 1, 13, LONGEST + 1, 69_632, 69_633, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/** One input in memory that is used again: mostly honest, then bent in one way or several; sometimes noise alone. */
function createMutator(random: Random, seeds: readonly Uint8Array[], kindOffset: number) {
  const memory = new Uint8Array(100_000);
  return (): Uint8Array => {
    inputs++;
    const { next, below } = random;
    if (below(16) === 0) {
      const length = below(120);
      for (let i = 0; i < length; i++) memory[HEADER_BYTES + i] = next();
      return memory.subarray(HEADER_BYTES, HEADER_BYTES + length);
    }
    const seed = seeds[below(seeds.length)]!;
    memory.set(seed, HEADER_BYTES);
    let length = seed.length;
    const flips = below(5);
    for (let i = 0; i < flips; i++) memory[HEADER_BYTES + below(Math.min(length, 160))] = next();
    if (below(8) === 0) {
      const giant = GIANTS[below(GIANTS.length)]!;
      for (let i = 0; i < 4; i++) memory[HEADER_BYTES + kindOffset + i] = giant >>> (24 - 8 * i);
    }
    if (below(8) === 0) length = below(length + 1);
    else if (below(16) === 0)
      for (const end = length + below(60); length < end; length++) memory[HEADER_BYTES + length] = next();
    return memory.subarray(HEADER_BYTES, HEADER_BYTES + length);
  };
}

/** Runs of one to three frames of one place. */
function runSeeds(random: Random, node: number): Uint8Array[] {
  const all = honest(node);
  return Array.from({ length: 60 }, () =>
    runOfFrames(...Array.from({ length: 1 + random.below(3) }, () => all[random.below(all.length)]!)),
  );
}

/** What is wrong with a run that gets to a guest or a peer; undefined: nothing. Walks by itself. */
function faultOf(run: Uint8Array, from?: number): string | undefined {
  const view = new DataView(run.buffer, run.byteOffset, run.length);
  if (run.length === 0) return 'empty';
  for (let at = 0; at < run.length;) {
    if (at + 18 > run.length) return 'cut off';
    const length = view.getUint32(at);
    if (length < 14 || length > LONGEST || at + 4 + length > run.length) return `a length of ${length}`;
    const source = Buffer.from(run.buffer, run.byteOffset + at + 10, 6).toString('hex');
    const owner = PLANNED.get(source);
    if (from !== undefined && owner !== from && (owner !== undefined || from !== SEGMENT)) return `forged ${source}`;
    at += 4 + length;
  }
  return undefined;
}

/** Node 2 of a line 1 - 2 - 3, 4 beyond 3, and the first things that should not have come out of it. */
function underTest(self: number) {
  const faults: string[] = [];
  let carried = 0;
  const note = (fault: string | undefined, what: string): void => {
    carried++;
    if (fault !== undefined && faults.length < 5) faults.push(`${what}: ${fault}`);
  };
  const clock = virtualClock();
  const sw = createSwitch({ node: self, lan: LAN, clock, mtu: MTU, onNote: () => {} });
  const edges = [[1, 2], [2, 3], [3, 4]] as const; // prettier-ignore
  const links = edges.flatMap(([a, b]) => (a === self ? [b] : b === self ? [a] : []));
  sw.setGraph({ epoch: 1, edges, links, directory: PLACES, server: 1 });
  sw.attachPort({
    name: 'guest',
    closed: new Promise(() => {}),
    send: (run) => (note(faultOf(run), 'port'), true),
  });
  for (const node of links) {
    const wire: Wire = {
      rung: 'memory',
      maxBatch: MAX_BATCH,
      send(batch) {
        const head = decodeHeader(batch);
        if (!head || head.lan !== LAN || head.type !== FRAMES) note('no batch of ours', 'wire');
        else if (batch.length > MAX_BATCH) note(`${batch.length} bytes`, 'wire');
        else if (head.source === self || head.destination === FLOOD) note(faultOf(runOf(batch), head.source), 'wire');
        else note(head.ttl === 0 || head.ttl === 255 ? `ttl ${head.ttl}` : undefined, 'transit');
        return true;
      },
      stats: () => ({ sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 }),
      closed: new Promise(() => {}),
      async [Symbol.asyncDispose]() {},
    };
    sw.attachWire(node, wire);
  }
  return { sw, clock, links, faults, carried: () => carried };
}

/** The heap, without waiting for the collector: far below what a million inputs would leave if each left a byte of itself. */
const heldMiB = () => {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / 2 ** 20;
};

describe('a million inputs', { timeout: 120_000 }, () => {
  test('for the codec: what it takes for a run are whole frames', () => {
    const random = seeded(1);
    const mutate = createMutator(random, NODES.flatMap((node) => runSeeds(random, node)), 0); // prettier-ignore
    let wrong = 0;
    for (let i = 0; i < 250_000; i++) {
      const bytes = mutate();
      let walked = 0;
      for (const one of frames(bytes)) walked += 4 + one.length;
      if (walked > bytes.length || checkRun(bytes) !== (walked === bytes.length && walked > 0)) wrong++;
      const head = decodeHeader(bytes);
      if (head && (bytes.length < HEADER_BYTES || bytes[0]! >> 4 !== 1 || head.type > NOTE)) wrong++;
    }
    expect(wrong).toBe(0);
  });

  test('for the run reader, in pieces: only whole legal frames come out, and after a broken length nothing', () => {
    const random = seeded(2);
    const mutate = createMutator(random, runSeeds(random, 1), 0);
    const faults: string[] = [];
    let runs = 0;
    const open = () =>
      createRunReader(MTU, (run, headroom = 0) => {
        runs++;
        const fault =
          faultOf(run) ?? (run.byteOffset >= headroom && headroom === HEADER_BYTES ? undefined : 'no headroom');
        if (fault !== undefined) faults.push(fault);
        run.fill(0xee);
      });
    let reader = open();
    for (let i = 0; i < 200_000; i++) {
      const bytes = mutate();
      const cut = random.below(bytes.length + 1);
      for (const part of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
        reader.room().set(part);
        if (!reader.arrived(part.length)) break; // the stream is over; the next one begins
      }
      if (i % 64 === 0) reader = open(); // a giant that never comes would swallow all the rest
    }
    expect(faults).toEqual([]);
    expect(runs).toBeGreaterThan(10_000);
  });

  test('for the guards and the neighbour proxy: no throw, and answers are whole frames for the asker', () => {
    const random = seeded(3);
    const mutate = createMutator(random, NODES.flatMap(honest), 12);
    const directory = createDirectory();
    directory.assign(PLACES, 1);
    const places = NODES.map((node) => directory.place(node)!);
    const faults: string[] = [];
    let answers = 0;
    for (let i = 0; i < 250_000; i++) {
      const bytes = mutate();
      const from = places[random.below(places.length)]!;
      // The frame is not at the end of its memory, so a guard that reads too far reads something.
      if (inspect(bytes, 0, bytes.length, from, directory) !== undefined) continue;
      speaksFrom(bytes, 0, bytes.length, from);
      const answer = neighbourAnswer(bytes, 0, bytes.length, from, directory, () => true);
      if (!answer) continue;
      answers++;
      const asked = Buffer.from(answer.subarray(4, 10)).toString('hex');
      const fault = faultOf(answer) ?? (PLANNED.get(asked) === from.node ? undefined : `for ${asked}`);
      if (fault !== undefined) faults.push(fault);
    }
    expect(faults).toEqual([]);
    expect(answers).toBeGreaterThan(1000);
  });

  test.each([2, SEGMENT])('from the guest of node %i', (self) => {
    const before = heldMiB();
    const { sw, clock, faults, carried } = underTest(self);
    const random = seeded(10 + self);
    const mutate = createMutator(random, runSeeds(random, self), 0);
    for (let i = 0; i < 75_000; i++) {
      const run = mutate();
      sw.fromPort(run, random.below(2) * HEADER_BYTES);
      clock.advance(1);
    }
    expect(faults).toEqual([]);
    expect(carried()).toBeGreaterThan(1000);
    expect(sw.learned().length).toBeLessThanOrEqual(MAX_LEARNED);
    expect(heldMiB() - before).toBeLessThan(200);
  });

  test.each([2, SEGMENT])('from the peers of node %i', (self) => {
    const before = heldMiB();
    const { sw, clock, links, faults, carried } = underTest(self);
    const random = seeded(20 + self);
    const types: readonly BatchType[] = [FRAMES, FRAMES, FRAMES, FRAMES, FRAMES, FRAMES, PROBE, NOTE];
    const seeds = NODES.filter((node) => node !== self).flatMap((source) =>
      runSeeds(random, source).map((run) => {
        const destination = [FLOOD, self, ...NODES][random.below(6)]!;
        const type = types[random.below(types.length)]!;
        return encodeBatch(
          { type, ttl: 1 + random.below(5), source, destination, lan: LAN, epoch: 1, life: 0, sequence: 0 },
          run,
        );
      }),
    );
    const mutate = createMutator(random, seeds, HEADER_BYTES);
    for (let i = 0; i < 125_000; i++) {
      const batch = mutate();
      // Numbers go on, or the duplicate window would take all the work.
      if (batch.length >= HEADER_BYTES && random.below(8) > 0)
        new DataView(batch.buffer, batch.byteOffset).setUint32(12, i);
      sw.fromWire(random.below(8) === 0 ? random.below(6) : links[random.below(links.length)]!, batch);
      clock.advance(1);
    }
    expect(faults).toEqual([]);
    expect(carried()).toBeGreaterThan(1000);
    expect(heldMiB() - before).toBeLessThan(200);
  });

  test('were a million', () => {
    process.stdout.write(`fuzz: ${inputs} inputs\n`);
    expect(inputs).toBeGreaterThanOrEqual(1_000_000);
  });
});
