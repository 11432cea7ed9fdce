/** The duplicate window against a model that remembers everything. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DuplicateWindow, STALE_RANGE, WINDOW_BITS } from '../../../src/net/window.ts';

const u32 = (value: number) => value >>> 0;

describe('the duplicate window', () => {
  test('lets each number of a shuffled stream through once, across the wrap too', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffff_ffff }),
        fc.array(fc.integer({ min: 0, max: 600 }), { minLength: 1, maxLength: 400 }),
        (start, offsets) => {
          const window = new DuplicateWindow();
          const seen = new Set<number>();
          for (const [i, offset] of offsets.entries()) {
            const sequence = u32(start + i + offset);
            expect(window.accept(sequence)).toBe(!seen.has(sequence));
            seen.add(sequence);
          }
        },
      ),
    );
  });

  test('forgets numbers when it slides over them, and refuses what has left it', () => {
    const window = new DuplicateWindow();
    expect(window.accept(10)).toBe(true);
    expect(window.accept(10 + WINDOW_BITS)).toBe(true);
    expect(window.accept(10)).toBe(false);
    expect(window.accept(11)).toBe(true);
    expect(window.accept(11)).toBe(false);
  });

  test('a step ahead leaves no shadow either', () => {
    const window = new DuplicateWindow();
    for (let i = 0; i < WINDOW_BITS; i++) window.accept(i);
    expect(window.accept(WINDOW_BITS + 10)).toBe(true);
    expect(window.accept(WINDOW_BITS + 6)).toBe(true);
    expect(window.accept(WINDOW_BITS - 1)).toBe(false);
  });

  test('the longest jump costs no more than a step', () => {
    const window = new DuplicateWindow();
    // Clearing bit by bit would take many seconds.
    for (let i = 0; i < 4; i++) expect(window.accept(u32(i * 0x7fff_fff0))).toBe(true);
  });

  test('a jump ahead leaves no shadow of the numbers that shared its bits', () => {
    const window = new DuplicateWindow();
    for (let i = 0; i < WINDOW_BITS; i++) expect(window.accept(i)).toBe(true);
    expect(window.accept(3 * WINDOW_BITS)).toBe(true);
    expect(window.accept(3 * WINDOW_BITS - 5)).toBe(true);
  });

  test('a sender that starts again somewhere else is heard at once', () => {
    const window = new DuplicateWindow();
    for (let i = 0; i < 5000; i++) window.accept(1_000_000 + i);
    const restart = 1_000_000 + 5000 - WINDOW_BITS - STALE_RANGE - 10;
    expect(window.accept(restart)).toBe(true);
    expect(window.accept(restart + 1)).toBe(true);
    expect(window.accept(restart)).toBe(false);
  });

  test('an old copy just behind the window is not taken for a restart', () => {
    const window = new DuplicateWindow();
    window.accept(100_000);
    expect(window.accept(100_000 - WINDOW_BITS - 6)).toBe(false);
    expect(window.accept(100_000 - WINDOW_BITS)).toBe(false);
    expect(window.accept(100_000 - WINDOW_BITS - STALE_RANGE)).toBe(false);
  });
});
