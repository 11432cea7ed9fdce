/** The pace in front of the server: never above the limit, control before frames, nothing without bound. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_CONTROL_BYTES, Pacer, type Priority } from '../../../src/xmpp/pacer.ts';

const all = { control: true, frames: true };

type Step = { readonly wait: number } | { readonly push: Priority; readonly bytes: number };
const steps = fc.array(
  fc.oneof(
    fc.record({ wait: fc.integer({ min: 0, max: 2000 }) }),
    fc.record({ push: fc.constantFrom<Priority>('control', 'frames'), bytes: fc.integer({ min: 1, max: 16_000 }) }),
  ),
  { maxLength: 200 },
);

/** Plays the steps, taking whatever may go after each; returns what went when. */
function play(bytesPerSecond: number, script: readonly Step[]) {
  let now = 0;
  const pacer = new Pacer<number>({ bytesPerSecond, now: () => now });
  const taken: { at: number; item: number; bytes: number; priority: Priority }[] = [];
  const pushed = new Map<number, Priority>();
  let next = 0;
  for (const step of script) {
    if ('wait' in step) now += step.wait;
    else if (pacer.push(next, step.bytes, step.push)) pushed.set(next++, step.push);
    for (let entry = pacer.take(all); entry; entry = pacer.take(all)) taken.push({ at: now, ...entry });
  }
  return { pacer, taken, pushed, advance: (ms: number) => (now += ms) };
}

test('in no stretch of time does more go than limit x time + burst + reserve + one stanza', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1000, max: 1_000_000 }), steps, (limit, script) => {
      const { taken } = play(limit, script);
      for (let from = 0; from < taken.length; from += 7) {
        let bytes = 0;
        for (const entry of taken.slice(from)) {
          bytes += entry.bytes;
          const seconds = (entry.at - taken[from]!.at) / 1000;
          expect(bytes).toBeLessThanOrEqual(0.85 * limit * (seconds + 1.25) + 16_000 + 1);
        }
      }
    }),
  );
});

test.each(['control', 'frames'] as const)('a full %s queue uses 85 % of the limit, no more and no less', (priority) => {
  let now = 0;
  const pacer = new Pacer<null>({ bytesPerSecond: 10_000, now: () => now });
  let bytes = 0;
  for (; now < 1_000_000; now += 10) {
    if (pacer.controlQueued + pacer.framesQueued < 5) pacer.push(null, 1000, priority);
    for (let entry = pacer.take(all); entry; entry = pacer.take(all)) bytes += entry.bytes;
  }
  expect(bytes / 1000 / 10_000).toBeCloseTo(0.85, 1.9);
});

test('control goes in order, all of it, and no frame goes while control waits', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1000, max: 1_000_000 }), steps, (limit, script) => {
      const { pacer, taken, pushed, advance } = play(limit, script);
      while (pacer.controlQueued > 0) {
        advance(pacer.waitMs());
        const entry = pacer.take(all);
        expect(entry?.priority).toBe('control');
        taken.push({ at: 0, ...entry! });
      }
      const control = taken.filter((entry) => entry.priority === 'control').map((entry) => entry.item);
      expect(control).toEqual([...pushed].filter(([, priority]) => priority === 'control').map(([item]) => item));
      const frames = taken.filter((entry) => entry.priority === 'frames').map((entry) => entry.item);
      expect(frames).toEqual(frames.toSorted((a, b) => a - b));
      expect(frames.length + pacer.framesQueued + pacer.drops).toBeGreaterThanOrEqual(
        [...pushed.values()].filter((priority) => priority === 'frames').length,
      );
    }),
  );
});

test('waiting as long as it says is long enough, and not much longer than needed', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1000, max: 1_000_000 }),
      fc.constantFrom<Priority>('control', 'frames'),
      (limit, priority) => {
        let now = 0;
        const pacer = new Pacer<string>({ bytesPerSecond: limit, now: () => now });
        for (let count = 0; count < 2000 && pacer.waitMs() === 0; count++) {
          pacer.push('x', 1000, priority);
          pacer.take(all);
        }
        pacer.push('last', 1000, priority);
        const wait = pacer.waitMs();
        if (wait === 0) return;
        expect(pacer.take(all)).toBeUndefined();
        now += Math.max(0, wait - 2);
        expect(pacer.take(all)).toBeUndefined();
        now += 3;
        expect(pacer.take(all)?.item).toBe('last');
      },
    ),
  );
});

test('control passes a flood of frames at once', () => {
  const pacer = new Pacer<string>({ bytesPerSecond: 10_000, now: () => 0 });
  for (let count = 0; count < 100; count++) pacer.push('frame', 2000, 'frames');
  while (pacer.take(all));
  pacer.push('control', 500, 'control');
  expect(pacer.take(all)).toMatchObject({ item: 'control', priority: 'control' });
});

test('a full frames queue loses its oldest and counts them; a full control queue refuses the newest', () => {
  const pacer = new Pacer<number>({ bytesPerSecond: 10_000, now: () => 0 });
  for (let count = 0; count < 30; count++) expect(pacer.push(count, 1000, 'frames')).toBe(true);
  expect(pacer).toMatchObject({ framesQueued: 20, drops: 10 });
  expect(pacer.take(all)?.item).toBe(10);
  expect(pacer.push(0, MAX_CONTROL_BYTES, 'control')).toBe(true);
  expect(pacer.push(1, 1, 'control')).toBe(false);
  expect(pacer.drainControl()).toEqual([0]);
  expect(pacer.push(1, 1, 'control')).toBe(true);
});
