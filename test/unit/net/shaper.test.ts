/** What a shaped link does to batches, by a virtual clock and chance with a seed. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import { checkRun, encodeBatch, encodeRun, FRAMES, frames, NOTE, PROBE, runOf } from '../../../src/net/batch.ts';
import type { Shape } from '../../../src/net/shape.ts';
import { createShaper } from '../../../src/net/shaper.ts';
import { createTap, tapWire } from '../../../src/net/tap.ts';
import type { Batch, Wire } from '../../../src/net/wire.ts';
import { memoryPair } from '../../../src/wire/memory.ts';
import { wireContract } from '../../contract/wire.ts';
import { seeded } from '../../harness/seeded.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const HEADER = {
  type: FRAMES,
  ttl: 9,
  source: 1,
  destination: 2,
  lan: 7,
  epoch: 3,
  flags: 0,
  sequence: 1,
  life: 1,
} as const;

/** Frames say their number behind the Ethernet header. */
function numbered(number: number, length = 60): Uint8Array {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(14, number);
  return bytes;
}
const numberOf = (frame: Uint8Array) => new DataView(frame.buffer, frame.byteOffset).getUint32(14);
const numbersOf = (batch: Batch) => [...frames(runOf(batch))].map(numberOf);
const batchOf = (sequence: number, ...list: Uint8Array[]) => encodeBatch({ ...HEADER, sequence }, encodeRun(list));

/** A wire that keeps what it is given, with the time. */
function openWire(clock: Clock, maxBatch = 65_536) {
  const sent: { readonly at: number; readonly batch: Batch }[] = [];
  let full = false;
  const wire: Wire = {
    rung: 'memory',
    maxBatch,
    send(batch) {
      if (!full) sent.push({ at: clock.now(), batch });
      return !full;
    },
    stats: () => ({ sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 }),
    closed: new Promise(() => {}),
    async [Symbol.asyncDispose]() {},
  };
  return {
    wire,
    sent,
    block: () => (full = true),
    numbers: () => sent.flatMap(({ batch }) => numbersOf(batch)),
  };
}

function shaped(shape: Shape | undefined, options: { readonly seed?: number; readonly maxBatch?: number } = {}) {
  const clock = virtualClock();
  const out = openWire(clock, options.maxBatch);
  const shaper = createShaper({ clock, random: seeded(options.seed ?? 1) });
  shaper.set(shape);
  return { clock, ...out, shaper, link: shaper.wrap(out.wire) };
}

const LONG = 1e6;
const NO_LIMIT = { limitFrames: 1e6 };

wireContract('a memory wire behind shaper and tap', async (onBatch) => {
  const [a, b] = memoryPair({ onBatch }).map((wire) =>
    createShaper({ clock: virtualClock() }).wrap(tapWire(createTap(), wire)),
  );
  return [a!, b!];
});

describe('a link without a shape', () => {
  test('passes batches on as they are, at once and uncopied', () => {
    const { link, sent } = shaped(undefined);
    const batch = batchOf(1, numbered(1));
    expect(link.send(batch)).toBe(true);
    expect(sent[0]?.batch).toBe(batch);
  });
});

describe('time', () => {
  test('a delay holds each batch back by so much', () => {
    const { link, clock, sent } = shaped({ delayMs: 50 });
    link.send(batchOf(1, numbered(1)));
    clock.advance(20);
    link.send(batchOf(2, numbered(2)));
    clock.advance(29);
    expect(sent).toEqual([]);
    clock.advance(LONG);
    expect(sent.map(({ at }) => at)).toEqual([50, 70]);
  });

  test('what waits is a copy: the sender may use its buffer again', () => {
    const { link, clock, numbers } = shaped({ delayMs: 50 });
    const batch = batchOf(1, numbered(5));
    link.send(batch);
    batch.fill(0);
    clock.advance(LONG);
    expect(numbers()).toEqual([5]);
  });

  test('a rate is not exceeded between any two batches, and is used when there is enough to send', () => {
    const sizes = fc.array(
      fc.record({ bytes: fc.integer({ min: 60, max: 9000 }), wait: fc.integer({ min: 0, max: 20 }) }),
      { minLength: 2, maxLength: 60 },
    );
    const shape = fc.record(
      {
        rate: fc.integer({ min: 10_000, max: 1e8 }),
        delayMs: fc.integer({ min: 50, max: 200 }),
        jitterMs: fc.integer({ min: 0, max: 50 }),
      },
      { requiredKeys: ['rate'] },
    );
    fc.assert(
      fc.property(sizes, shape, fc.integer(), (plan, given, seed) => {
        // Jitter without delay is no shape that parses.
        const shape = { ...given, jitterMs: given.delayMs === undefined ? 0 : (given.jitterMs ?? 0), ...NO_LIMIT };
        const { link, clock, sent } = shaped(shape, { seed });
        for (const [i, { bytes, wait }] of plan.entries()) {
          link.send(batchOf(i, numbered(i, bytes)));
          clock.advance(wait);
        }
        clock.advance(LONG * 100);
        expect(sent).toHaveLength(plan.length);
        for (const [i, first] of sent.entries()) {
          let bits = 0;
          for (const { at, batch } of sent.slice(i + 1)) {
            bits += (batch.length - 20) * 8;
            expect(at - first.at).toBeGreaterThanOrEqual((bits / shape.rate) * 1000 - 1e-6);
          }
        }
        // All order is kept, jitter or not: netem's rate has one point of reference.
        expect(sent.flatMap(({ batch }) => numbersOf(batch))).toEqual(plan.map((_, i) => i));
      }),
    );
  });

  test('a burst at a rate takes as long as its bits', () => {
    const { link, clock, sent } = shaped({ rate: 1e6, ...NO_LIMIT });
    for (let i = 0; i < 100; i++) link.send(batchOf(i, numbered(i, 1250)));
    clock.advance(LONG);
    expect(sent.at(-1)?.at).toBeCloseTo(1000, 6);
  });

  test('without jitter and reordering the order stays, whatever else happens and however the shape changes', () => {
    const step = fc.oneof(
      fc.record({ send: fc.integer({ min: 1, max: 5 }), wait: fc.integer({ min: 0, max: 30 }) }),
      fc.record({
        shape: fc.option(
          fc.record(
            { delayMs: fc.integer({ min: 1, max: 500 }), rate: fc.integer({ min: 1e5, max: 1e9 }) },
            { requiredKeys: [] },
          ),
          { nil: undefined },
        ),
      }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { link, clock, shaper, numbers } = shaped({ delayMs: 100, ...NO_LIMIT });
        let next = 0;
        for (const each of steps) {
          if ('shape' in each) shaper.set(each.shape && { ...each.shape, ...NO_LIMIT });
          else {
            link.send(batchOf(next, ...Array.from({ length: each.send }, () => numbered(next++))));
            clock.advance(each.wait);
          }
        }
        clock.advance(LONG);
        expect(numbers()).toEqual(Array.from({ length: next }, (_, i) => i));
      }),
    );
  });

  test('jitter spreads batches evenly around the delay, and they overtake each other', () => {
    const { link, clock, sent, numbers } = shaped({ delayMs: 100, jitterMs: 20, ...NO_LIMIT });
    const start = clock.now();
    for (let i = 0; i < 5000; i++) link.send(batchOf(i, numbered(i)));
    clock.advance(LONG);
    const times = sent.map(({ at }) => at - start);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(80);
    expect(Math.max(...times)).toBeLessThanOrEqual(120);
    expect(times.reduce((a, b) => a + b) / times.length).toBeCloseTo(100, 0);
    expect(numbers()).not.toEqual(numbers().toSorted((a, b) => a - b));
    expect(numbers().toSorted((a, b) => a - b)).toEqual(Array.from({ length: 5000 }, (_, i) => i));
  });

  test('reordering lets the given share go at once', () => {
    const { link, clock, sent, shaper } = shaped({ delayMs: 100, reorder: 0.05, ...NO_LIMIT });
    for (let i = 0; i < 10_000; i++) link.send(batchOf(i, numbered(i)));
    clock.advance(1);
    expect(sent.length).toBeGreaterThan(400);
    expect(sent.length).toBeLessThan(600);
    expect(shaper.stats().reordered).toBe(sent.length);
    clock.advance(LONG);
    expect(sent).toHaveLength(10_000);
  });

  test('a shorter delay holds for what waits, too; no shape lets it go at once', () => {
    const { link, clock, sent, shaper } = shaped({ delayMs: 10_000 });
    link.send(batchOf(1, numbered(1)));
    shaper.set({ delayMs: 10 });
    clock.advance(10);
    expect(sent).toHaveLength(1);
    link.send(batchOf(2, numbered(2)));
    shaper.set(undefined);
    expect(sent).toHaveLength(2);
    expect(shaper.stats()).toMatchObject({ queuedBatches: 0, queuedBytes: 0 });
  });
});

describe('frames', () => {
  const many = (shape: Shape, perBatch = 10, batches = 2000) => {
    const world = shaped({ ...shape, ...NO_LIMIT });
    for (let i = 0; i < batches; i++) {
      world.link.send(batchOf(i, ...Array.from({ length: perBatch }, (_, j) => numbered(i * perBatch + j))));
    }
    world.clock.advance(LONG);
    return world;
  };

  // Twenty thousand frames: five standard deviations of the binomial distribution on either side.
  const around = (share: number, count = 20_000) => {
    const spread = 5 * Math.sqrt(count * share * (1 - share));
    return [count * share - spread, count * share + spread] as const;
  };
  const expectWithin = (value: number, [low, high]: readonly [number, number]) => {
    expect(value).toBeGreaterThan(low);
    expect(value).toBeLessThan(high);
  };

  test.each([0.001, 0.01, 0.3, 0.9])('loss of %d is of single frames, evenly', (loss) => {
    const { numbers, shaper } = many({ loss });
    expectWithin(20_000 - numbers().length, around(loss));
    expect(shaper.stats().lost).toBe(20_000 - numbers().length);
    expect(new Set(numbers()).size).toBe(numbers().length);
  });

  test('a loss of all is silence that looks like success to the sender', () => {
    const { link, clock, sent } = shaped({ loss: 1 });
    expect(link.send(batchOf(1, numbered(1)))).toBe(true);
    clock.advance(LONG);
    expect(sent).toEqual([]);
  });

  test('duplicates follow their frame in the same batch', () => {
    const { numbers, shaper, sent } = many({ duplicate: 0.1 });
    const twice = numbers().filter((number, i, all) => all[i - 1] === number);
    expectWithin(twice.length, around(0.1));
    expect(shaper.stats().duplicated).toBe(twice.length);
    expect(numbers().length).toBe(20_000 + twice.length);
    expect(sent).toHaveLength(2000);
  });

  test('a frame that is both lost and duplicated arrives once', () => {
    const { numbers } = many({ loss: 1, duplicate: 1 }, 10, 10);
    expect(numbers()).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  test('a duplicate that does not fit is left out; the frames behind it are not', () => {
    const { link, clock, numbers, sent, shaper } = shaped({ duplicate: 1 }, { maxBatch: 16 + 64 * 3 });
    link.send(batchOf(1, numbered(1), numbered(2)));
    clock.advance(LONG);
    expect(numbers()).toEqual([1, 1, 2]);
    expect(sent[0]?.batch).toHaveLength(16 + 64 * 3);
    expect(shaper.stats()).toMatchObject({ duplicated: 1, unfit: 1 });
  });

  test('nor may it make a batch larger than wires further on take', () => {
    const clock = virtualClock();
    const { wire, numbers } = openWire(clock);
    const shaper = createShaper({ clock, random: seeded(1), limit: () => 16 + 64 * 2 });
    shaper.set({ duplicate: 1 });
    shaper.wrap(wire).send(batchOf(1, numbered(1), numbered(2)));
    clock.advance(LONG);
    expect(numbers()).toEqual([1, 2]);
  });

  test('corruption flips one bit behind the Ethernet header', () => {
    const { sent, shaper } = many({ corrupt: 0.05 }, 10, 2000);
    let flipped = 0;
    for (const [i, { batch }] of sent.entries()) {
      for (const [j, frame] of [...frames(runOf(batch))].entries()) {
        const before = numbered(i * 10 + j);
        const bits = frame.reduce((sum, byte, at) => sum + popcount(byte ^ before[at]!), 0);
        expect(frame.subarray(0, 14)).toEqual(before.subarray(0, 14));
        expect(bits).toBeLessThanOrEqual(1);
        flipped += bits;
      }
    }
    expectWithin(flipped, around(0.05));
    expect(shaper.stats().corrupted).toBe(flipped);
  });

  test('without loss nothing is lost, and each batch keeps its header and is whole', () => {
    const shape = fc.record(
      {
        delayMs: fc.integer({ min: 40, max: 100 }),
        jitterMs: fc.integer({ min: 0, max: 40 }),
        reorder: fc.double({ min: 0, max: 1, noNaN: true }),
        duplicate: fc.double({ min: 0, max: 1, noNaN: true }),
        rate: fc.integer({ min: 1e6, max: 1e9 }),
      },
      { requiredKeys: ['delayMs'] },
    );
    const batches = fc.array(fc.array(fc.integer({ min: 18, max: 1514 }), { minLength: 1, maxLength: 20 }), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(shape, batches, fc.integer(), (given, plan, seed) => {
        const { link, clock, sent } = shaped({ ...given, ...NO_LIMIT }, { seed, maxBatch: 40_000 });
        let next = 0;
        const before = plan.map((lengths, i) => batchOf(i, ...lengths.map((length) => numbered(next++, length))));
        for (const batch of before) {
          link.send(batch);
          clock.advance(1);
        }
        clock.advance(LONG);
        expect(sent).toHaveLength(plan.length);
        const seen = new Set<number>();
        for (const { batch } of sent) {
          expect(batch.length).toBeLessThanOrEqual(40_000);
          expect(checkRun(runOf(batch))).toBe(true);
          expect(before.some((one) => Buffer.compare(one.subarray(0, 16), batch.subarray(0, 16)) === 0)).toBe(true);
          numbersOf(batch).forEach((number) => seen.add(number));
        }
        expect(seen.size).toBe(next);
      }),
    );
  });

  test('what is not whole frames travels as it is', () => {
    const shape = { loss: 1, duplicate: 1, corrupt: 1 };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (run) => {
        fc.pre(!checkRun(run));
        const { link, clock, sent } = shaped(shape);
        const batch = encodeBatch(HEADER, run);
        link.send(batch);
        clock.advance(LONG);
        expect(sent.map((each) => each.batch)).toEqual([batch]);
      }),
    );
  });
});

describe('the queue', () => {
  test('holds netem’s thousand frames; those of a batch that still fit are taken', () => {
    const { link, clock, numbers, shaper } = shaped({ delayMs: 100 });
    const batch = (first: number, count: number) =>
      batchOf(first, ...Array.from({ length: count }, (_, i) => numbered(first + i)));
    for (let i = 0; i < 99; i++) expect(link.send(batch(i * 10, 10))).toBe(true);
    expect(link.send(batch(990, 15))).toBe(true);
    expect(shaper.stats().overLimit).toBe(5);
    expect(link.send(batch(2000, 3))).toBe(false);
    expect(shaper.stats().overLimit).toBe(8);
    expect(link.stats().drops).toBe(1);
    clock.advance(100);
    expect(numbers()).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(link.send(batch(3000, 1))).toBe(true);
  });

  test('may be bounded in bytes', () => {
    const { link, shaper } = shaped({ delayMs: 100, limitBytes: 200 });
    expect(link.send(batchOf(1, numbered(1), numbered(2), numbered(3)))).toBe(true);
    expect(shaper.stats()).toMatchObject({ overLimit: 1, queuedBytes: 16 + 2 * 64 });
    expect(link.send(batchOf(2, numbered(4)))).toBe(false);
  });

  test('never holds more than 16 MiB, whatever the shape says', () => {
    const { link, shaper } = shaped({ delayMs: 1000, ...NO_LIMIT });
    const batch = batchOf(1, numbered(1, 60_000));
    for (let i = 0; i < 1000; i++) link.send(batch);
    expect(shaper.stats().queuedBytes).toBeLessThanOrEqual(16 * 2 ** 20);
    expect(shaper.stats().queuedBytes).toBeGreaterThan(15 * 2 ** 20);
  });
});

describe('wires under it', () => {
  test('come and go: what waits leaves over the newest one', () => {
    const { link, clock, sent, shaper } = shaped({ delayMs: 50 });
    link.send(batchOf(1, numbered(1)));
    const next = openWire(clock);
    const other = shaper.wrap(next.wire);
    expect([link.stats().queuedBytes, other.stats().queuedBytes]).toEqual([0, 80]);
    clock.advance(LONG);
    expect([sent.length, next.numbers()]).toEqual([0, [1]]);
  });

  test('that take nothing lose what comes due, counted', () => {
    const { link, clock, block, shaper } = shaped({ delayMs: 50 });
    link.send(batchOf(1, numbered(1)));
    block();
    clock.advance(LONG);
    expect(shaper.stats()).toMatchObject({ refused: 1, queuedBatches: 0, queuedBytes: 0 });
  });

  test('carry hellos and notes past the shape', () => {
    const { link, sent } = shaped({ loss: 1, delayMs: 1000, rate: 1000 });
    for (const type of [PROBE, NOTE] as const) link.send(encodeBatch({ ...HEADER, type }));
    expect(sent).toHaveLength(2);
  });

  test('see nothing after the end, and no timer is left', () => {
    const virtual = virtualClock();
    let timers = 0;
    const clock: Clock = {
      ...virtual,
      after(ms, task) {
        timers++;
        let live = true;
        const done = () => {
          if (live) timers--;
          live = false;
        };
        const cancel = virtual.after(ms, () => {
          done();
          task();
        });
        return () => {
          done();
          cancel();
        };
      },
    };
    const { wire, sent } = openWire(clock);
    const shaper = createShaper({ clock, random: seeded(1) });
    const link = shaper.wrap(wire);
    shaper.set({ delayMs: 100, jitterMs: 50, rate: 1e6 });
    for (let i = 0; i < 20; i++) link.send(batchOf(i, numbered(i)));
    shaper.set({ delayMs: 50 });
    expect(timers).toBe(1);
    shaper[Symbol.dispose]();
    expect(timers).toBe(0);
    virtual.advance(LONG);
    expect(sent).toEqual([]);
  });
});

const popcount = (byte: number) => byte.toString(2).replaceAll('0', '').length;
