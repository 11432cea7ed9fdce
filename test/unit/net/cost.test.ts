/** What a link costs, and when others hear of a change. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createCostMeter, linkCost, MAX_COST, type LinkSample } from '../../../src/net/cost.ts';
import type { Rung } from '../../../src/net/wire.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const at = (roundTripMs: number, loss = 0, rung: Rung = 'direct'): LinkSample => ({ rung, roundTripMs, loss });

/** Samples every half second, as hellos of a link in use; how many seconds until the meter tells a change, or undefined. */
function secondsUntilTold(told: LinkSample, then: LinkSample, within = 120): number | undefined {
  const clock = virtualClock();
  const meter = createCostMeter(clock);
  meter.sample(told);
  for (let i = 1; i <= within * 2; i++) {
    clock.advance(500);
    if (meter.sample(then)) return i / 2;
  }
  return undefined;
}

describe('the cost of a link', () => {
  test('is its round trip, what its rung can carry, and a hop, in tenths of a millisecond', () => {
    expect(linkCost(at(10))).toBe((10 + 2 + 3) * 10);
    expect(linkCost(at(10, 0, 'webrtc'))).toBe((10 + 10 + 3) * 10);
    expect(linkCost(at(0, 0, 'memory'))).toBe(32);
  });

  test('doubles with two percent of loss', () => {
    expect(linkCost(at(10, 0.02))).toBe(2 * linkCost(at(10)));
  });

  test('makes three direct hops better than one through the chat server, at any delay that people bear', () => {
    expect(3 * linkCost(at(300))).toBeLessThan(linkCost(at(20, 0, 'stanza')));
  });

  test('is always a u16 and never nothing', () => {
    const rungs = fc.constantFrom<Rung>('direct', 'webrtc', 'stanza', 'memory');
    fc.assert(
      fc.property(
        rungs,
        fc.double({ min: 0, max: 1e9, noNaN: true }),
        fc.double({ min: 0, max: 1 }),
        (rung, ms, loss) => {
          const cost = linkCost(at(ms, Number.isNaN(loss) ? 0 : loss, rung));
          expect(Number.isInteger(cost) && cost >= 1 && cost <= MAX_COST).toBe(true);
        },
      ),
    );
  });
});

describe('a change of cost', () => {
  test('by less than a quarter is never told', () => {
    expect(secondsUntilTold(at(20), at(25))).toBeUndefined();
  });

  test('by a half is told once it has held for five seconds', () => {
    const seconds = secondsUntilTold(at(20), at(35));
    expect(seconds).toBeGreaterThan(5);
    expect(seconds).toBeLessThan(20);
  });

  test('to twice as much is told before it has held for long', () => {
    const clock = virtualClock();
    const meter = createCostMeter(clock);
    meter.sample(at(1));
    clock.advance(500);
    expect(meter.sample(at(1000))).toBe(true);
  });

  test('that comes and goes is not told', () => {
    const clock = virtualClock();
    const meter = createCostMeter(clock);
    meter.sample(at(20));
    for (let i = 0; i < 240; i++) {
      clock.advance(500);
      expect(meter.sample(at(i % 8 < 4 ? 28 : 20))).toBe(false);
    }
    expect(meter.cost).toBe(linkCost(at(20)));
  });

  test('of the rung is told at once, with nothing left of the wire before', () => {
    const clock = virtualClock();
    const meter = createCostMeter(clock);
    meter.sample(at(400, 0.5, 'stanza'));
    clock.advance(500);
    expect(meter.sample(at(2))).toBe(true);
    expect([meter.cost, meter.roundTripMs, meter.loss]).toEqual([linkCost(at(2)), 2, 0]);
  });

  test('after the link was down begins afresh', () => {
    const meter = createCostMeter(virtualClock());
    expect(meter.cost).toBeUndefined();
    meter.sample(at(20));
    meter.reset();
    expect([meter.cost, meter.roundTripMs]).toEqual([undefined, undefined]);
    expect(meter.sample(at(21))).toBe(true);
    expect(meter.cost).toBe(linkCost(at(21)));
  });
});
