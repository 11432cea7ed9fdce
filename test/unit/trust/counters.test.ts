/** The window of counters against a model that remembers everything. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CounterWindow } from '../../../src/trust/counters.ts';

const WINDOW = 1024;

/** Mostly near each other, some far ahead, some far behind. */
const steps = fc.array(
  fc.oneof(
    fc.integer({ min: -20, max: 20 }),
    fc.integer({ min: -1100, max: 1100 }),
    fc.integer({ min: -5000, max: 5000 }),
    fc.constantFrom(0, 31, 32, 1023, 1024, -1023, -1024),
  ),
  { maxLength: 300 },
);

test('it takes nothing twice, everything new inside the window, and nothing older', { timeout: 60_000 }, () => {
  fc.assert(
    fc.property(fc.constantFrom(0, 5000, 2 ** 40), steps, (start, jumps) => {
      const window = new CounterWindow();
      const taken = new Set<number>();
      let highest = 0;
      let at = start;
      for (const jump of jumps) {
        at = Math.max(0, at + jump);
        const expected = !taken.has(at) && at > highest - WINDOW;
        expect(window.fresh(at)).toBe(expected);
        if (!expected) continue;
        window.take(at);
        taken.add(at);
        highest = Math.max(highest, at);
        expect(window.fresh(at)).toBe(false);
      }
    }),
    { numRuns: 500 },
  );
});
