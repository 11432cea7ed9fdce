/** Floods are bounded: at the guest's switch, at every other one, and however a hostile peer wraps them. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeBatch, FLOOD, FRAMES, frames, runOf } from '../../../src/net/batch.ts';
import { createBucket, floodCost, FROM_WIRE_FACTOR } from '../../../src/net/bucket.ts';
import type { DropReason } from '../../../src/net/counters.ts';
import { createSwitch } from '../../../src/net/switch.ts';
import type { Batch, Wire } from '../../../src/net/wire.ts';
import { addressOf, BROADCAST, frame, macOf, runOfFrames } from '../../harness/frames.ts';
import { LAN } from '../../harness/lan.ts';
import { createMemoryPort } from '../../harness/memory-port.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const PER_SECOND = 65_536;
const BURST = 262_144;

test('whatever is asked when, no stretch of time gives more than the burst and the rate', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.oneof(fc.constant(0), fc.nat({ max: 30_000 })), fc.integer({ min: 1, max: 70_000 })), {
        maxLength: 60,
      }),
      (requests) => {
        const clock = virtualClock();
        const bucket = createBucket(clock);
        const taken: { at: number; cost: number }[] = [];
        for (const [pause, cost] of requests) {
          clock.advance(pause);
          if (bucket.take(cost)) taken.push({ at: clock.now(), cost });
        }
        for (const [first, { at: start }] of taken.entries()) {
          let sum = 0;
          for (const { at, cost } of taken.slice(first)) {
            sum += cost;
            expect(sum).toBeLessThanOrEqual(BURST + ((at - start) * PER_SECOND) / 1000 + 1e-6);
          }
        }
      },
    ),
    { numRuns: 200 },
  );
});

test('an hour of silence saves up no more than one burst', () => {
  const clock = virtualClock();
  const bucket = createBucket(clock);
  clock.advance(3_600_000);
  expect([bucket.take(BURST), bucket.take(1)]).toEqual([true, false]);
});

/** Node 2 of a line 1 - 2 - 3: what its guest hears and what it passes on. */
function middle(without: readonly DropReason[] = []) {
  const clock = virtualClock();
  const sw = createSwitch({ node: 2, lan: LAN, clock, without: new Set(without) });
  const port = createMemoryPort();
  const sent: Batch[] = [];
  sw.attachPort(port);
  for (const node of [1, 3]) sw.attachWire(node, recorder(sent));
  sw.setGraph({
    epoch: 1,
    edges: [
      [1, 2],
      [2, 3],
    ],
    links: [1, 3],
    directory: [1, 2, 3].map((node) => ({ node, mac: macOf(node), address: addressOf(node) })),
    server: 1,
  });
  let sequence = 0;
  const hostile = (destination: number, run: Uint8Array): void => {
    const header = { type: FRAMES, ttl: 3, source: 1, lan: LAN, epoch: 1, life: 0, destination } as const;
    sw.fromWire(1, encodeBatch({ ...header, sequence: sequence++ }, run));
  };
  const passedOn = () => sent.reduce((count, batch) => count + [...frames(runOf(batch))].length, 0);
  return { sw, port, clock, hostile, passedOn };
}

const shout = (from: number, to = BROADCAST, length = 60) => frame({ to, from: macOf(from), length });
const SMALL_FRAMES = BURST / floodCost(60);

describe('a guest', () => {
  test('may sweep a /24 three times over at once', () => {
    const { sw, passedOn } = middle();
    for (let i = 0; i < 3 * 254; i++) sw.fromPort(runOfFrames(shout(2)));
    expect([passedOn(), sw.stats().dropped.storm]).toEqual([2 * 3 * 254, 0]);
  });

  test.each([
    ['broadcasts', BROADCAST],
    ['multicasts', '01:00:5e:00:00:fb'],
    ['sends to addresses that nobody has', '02:99:99:99:99:99'],
  ])('that %s without end is cut to the burst, then to the rate', (_, to) => {
    const { sw, clock, passedOn } = middle();
    const storm = (count: number) => {
      for (let i = 0; i < count; i++) sw.fromPort(runOfFrames(shout(2, to)));
    };
    storm(100_000);
    expect([passedOn(), sw.stats().dropped.storm]).toEqual([2 * SMALL_FRAMES, 100_000 - SMALL_FRAMES]);
    clock.advance(1000);
    storm(100_000);
    expect(passedOn()).toBe(2 * (SMALL_FRAMES + PER_SECOND / floodCost(60)));
  });

  test('that floods is still heard by those it speaks to', () => {
    const { sw, passedOn } = middle();
    for (let i = 0; i < 100_000; i++) sw.fromPort(runOfFrames(shout(2)));
    const before = passedOn();
    for (let i = 0; i < 1000; i++) sw.fromPort(runOfFrames(shout(2, macOf(1), 1400)));
    expect(passedOn()).toBe(before + 1000);
  });

  test('pays for bytes when its frames are large', () => {
    const { sw, passedOn } = middle();
    for (let i = 0; i < 1000; i++) sw.fromPort(runOfFrames(shout(2, BROADCAST, 60_000)));
    expect(passedOn()).toBe(2 * Math.floor(BURST / 60_000));
  });
});

describe('a hostile peer', () => {
  const bound = FROM_WIRE_FACTOR * SMALL_FRAMES;

  test.each([
    ['as floods', FLOOD, BROADCAST],
    ['wrapped as unicast', 2, BROADCAST],
    ['for addresses that nobody has', 2, '02:99:99:99:99:99'],
  ])('that lets everything out, %s, reaches our guest within the bound', (_, destination, to) => {
    const { sw, port, hostile } = middle();
    for (let i = 0; i < 20_000; i++) hostile(destination, runOfFrames(shout(1, to)));
    expect(port.frames).toHaveLength(bound);
    expect(sw.stats().dropped.storm).toBe(20_000 - bound);
  });

  test('gains nothing by the smallest frames in the largest batches', () => {
    const { port, hostile } = middle();
    const run = runOfFrames(...Array.from({ length: 400 }, () => shout(1, BROADCAST, 14)));
    for (let i = 0; i < 100; i++) hostile(FLOOD, run);
    expect(port.frames.length).toBeLessThanOrEqual(bound);
  });

  test('is not helped along: what exceeds the bound, or lies, is not passed on either', () => {
    const { hostile, passedOn } = middle();
    for (let i = 0; i < 20_000; i++) hostile(FLOOD, runOfFrames(shout(1)));
    hostile(FLOOD, runOfFrames(shout(3)));
    expect(passedOn()).toBe(bound);
  });

  test('does not use up what others may send', () => {
    const { sw, hostile, port } = middle();
    for (let i = 0; i < 20_000; i++) hostile(FLOOD, runOfFrames(shout(1)));
    const header = { type: FRAMES, ttl: 3, source: 3, lan: LAN, epoch: 1, life: 0, sequence: 1 } as const;
    sw.fromWire(3, encodeBatch({ ...header, destination: FLOOD }, runOfFrames(shout(3))));
    expect(port.frames).toHaveLength(bound + 1);
  });

  test('does all of it as soon as the guard is away', () => {
    const { port, hostile, passedOn } = middle(['storm']);
    for (let i = 0; i < 20_000; i++) hostile(FLOOD, runOfFrames(shout(1)));
    expect([port.frames.length, passedOn()]).toEqual([20_000, 20_000]);
  });
});

test('what an honest switch lets out in four seconds is not dropped again where it arrives at once', () => {
  const clock = virtualClock();
  const [near, far] = [createBucket(clock), createBucket(clock, FROM_WIRE_FACTOR)];
  for (let round = 0; round < 3; round++) {
    let held = 0;
    for (let ms = 0; ms < 4000; ms += 10) {
      while (near.take(1500)) held++;
      clock.advance(10);
    }
    const taken = Array.from({ length: held }, () => far.take(1500));
    expect(held).toBeGreaterThan(100);
    expect(taken).not.toContain(false);
  }
});

function recorder(sent: Batch[]): Wire {
  return {
    rung: 'memory',
    maxBatch: 65_536,
    send: (batch) => sent.push(batch.slice()) > 0,
    stats: () => ({ sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 }),
    closed: new Promise(() => {}),
    async [Symbol.asyncDispose]() {},
  };
}
