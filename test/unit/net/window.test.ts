/** The duplicate window against a model that remembers everything. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DuplicateWindow, STALE_RANGE, WINDOW_BITS } from '../../../src/net/window.ts';

const u32 = (value: number) => value >>> 0;

/** What is this late or less is always told from new. */
const REACH = WINDOW_BITS - 32;

describe('the duplicate window', () => {
  test('lets each number of a shuffled stream through once, across the wrap too', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffff_ffff }),
        fc.array(fc.integer({ min: 0, max: REACH - 500 }), { minLength: 1, maxLength: 400 }),
        (start, offsets) => {
          const window = new DuplicateWindow();
          const seen = new Set<number>();
          for (const [i, offset] of offsets.entries()) {
            const sequence = u32(start + i + offset);
            expect(window.accept(1, sequence)).toBe(!seen.has(sequence));
            seen.add(sequence);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('lets no number through twice, however it jumps, and what is in reach always once', () => {
    const steps = fc.oneof(
      fc.integer({ min: -WINDOW_BITS - 100, max: WINDOW_BITS + 100 }),
      fc.integer({ min: -40, max: 40 }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), fc.array(steps, { maxLength: 300 }), (start, list) => {
        const window = new DuplicateWindow();
        const seen = new Set<number>();
        let newest = start;
        window.accept(1, start);
        seen.add(start);
        for (const step of list) {
          const sequence = u32(newest + step);
          const accepted = window.accept(1, sequence);
          // Late, and not surely in reach: refused or let through once.
          expect(accepted).toBe(!seen.has(sequence) && (step > -REACH || accepted));
          seen.add(sequence);
          if (step > 0) newest = sequence;
        }
      }),
      { numRuns: 500 },
    );
  });

  test('refuses what has left it', () => {
    const window = new DuplicateWindow();
    expect(window.accept(1, 10)).toBe(true);
    expect(window.accept(1, 10 + WINDOW_BITS)).toBe(true);
    expect(window.accept(1, 10)).toBe(false);
    expect(window.accept(1, 10 + WINDOW_BITS - STALE_RANGE)).toBe(false);
  });

  test('the longest jump costs no more than a step', () => {
    const window = new DuplicateWindow();
    // Clearing bit by bit would take many seconds.
    for (let i = 0; i < 4; i++) expect(window.accept(1, u32(i * 0x7fff_fff0))).toBe(true);
  });

  test('a source that starts again is heard at once, wherever it begins to count', () => {
    const window = new DuplicateWindow();
    for (let i = 0; i < 5000; i++) window.accept(1, 1_000_000 + i);
    for (const first of [1_000_000, 0, 1_004_999]) expect(window.accept(2 + first, first)).toBe(true);
  });

  test('the last batches of the life before are still told from new ones, and do not disturb this one', () => {
    const window = new DuplicateWindow();
    for (let i = 0; i < 100; i++) window.accept(1, i);
    for (let i = 0; i < 100; i++) window.accept(2, i);
    expect([window.accept(1, 50), window.accept(1, 100), window.accept(2, 99), window.accept(2, 100)]).toEqual([
      false,
      true,
      false,
      true,
    ]);
  });

  test('a source that drew the same life twice is heard too, if it begins far behind', () => {
    const window = new DuplicateWindow();
    window.accept(1, 3_000_000);
    const again = 3_000_000 - STALE_RANGE - 1;
    expect([window.accept(1, again), window.accept(1, again + 1), window.accept(1, again)]).toEqual([
      true,
      true,
      false,
    ]);
  });
});
