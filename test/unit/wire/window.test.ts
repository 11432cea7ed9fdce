/** A window over lines of several speeds, under a virtual clock: it learns what the path holds, and not more. */
import { describe, expect, test } from 'vitest';
import { createReceipts, createWindow, STEP_BYTES } from '../../../src/wire/window.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

/** A line of so many bytes per millisecond and this round trip; a sender that always has a message of 10,000 bytes more. */
function line(bytesPerMs: number, roundTripMs: number) {
  const clock = virtualClock();
  const window = createWindow(() => clock.now());
  const receipts = createReceipts(() => clock.now());
  let free = 0;
  let read = 0;
  const send = () => {
    while (window.open) {
      window.sent(10_000);
      free = Math.max(free, clock.now()) + 10_000 / bytesPerMs;
      clock.after(free - clock.now() + roundTripMs / 2, () => {
        read += 10_000;
        const total = receipts.add(10_000);
        if (total === undefined) return;
        clock.after(roundTripMs / 2, () => {
          window.read(total);
          send();
        });
      });
    }
  };
  return { clock, window, send, read: () => read };
}

describe('a window', () => {
  test.each([
    ['of 400 Mbit/s at 1 ms', 50_000, 1],
    ['of 200 Mbit/s at 50 ms', 25_000, 50],
    ['of 50 Mbit/s at 100 ms', 6250, 100],
    ['of 10 Mbit/s at 20 ms', 1250, 20],
  ])('fills a line %s, and its queue is short', (_, bytesPerMs, roundTripMs) => {
    const { clock, window, send, read } = line(bytesPerMs, roundTripMs);
    send();
    clock.advance(5000);
    const before = read();
    clock.advance(1000);
    expect(read() - before).toBeGreaterThan(0.9 * 1000 * bytesPerMs);
    const queued = window.unread - bytesPerMs * roundTripMs;
    // Two steps at least, or what passes in about one round trip and the slack.
    expect(queued).toBeLessThan(Math.max(2 * STEP_BYTES, 2.5 * bytesPerMs * (roundTripMs + 20)) + 20_000);
  });

  test('on 1 Mbit/s the queue is about one second, not the eight of a buffer of a megabyte', () => {
    const { clock, window, send } = line(125, 20);
    send();
    clock.advance(10_000);
    expect(window.unread).toBeLessThanOrEqual(2 * STEP_BYTES + 10_000);
  });

  test('while little is under way nothing waits', () => {
    const window = createWindow(() => 0);
    window.sent(1500);
    expect([window.open, window.backlogged]).toEqual([true, false]);
  });

  test('a peer that says it read what was never sent is not believed', () => {
    const window = createWindow(() => 0);
    window.sent(1000);
    expect(window.read(1001)).toBe(false);
    expect(window.read(600)).toBe(true);
    expect(window.read(500)).toBe(false);
    expect(window.unread).toBe(400);
  });

  test('totals go on where 32 bits end', () => {
    const window = createWindow(() => 0);
    for (let sent = 0; sent < 2 ** 32 + 100_000; sent += 50_000) {
      window.sent(50_000);
      expect(window.read((sent + 50_000) % 2 ** 32)).toBe(true);
    }
    expect(window.unread).toBe(0);
  });
});

describe('receipts', () => {
  test('a full step is said at once, a small one after a while, less never', () => {
    const clock = virtualClock();
    const receipts = createReceipts(() => clock.now());
    expect(receipts.add(STEP_BYTES)).toBe(STEP_BYTES);
    expect(receipts.add(9000)).toBeUndefined();
    clock.advance(20);
    expect(receipts.add(1)).toBe(STEP_BYTES + 9001);
    clock.advance(1000);
    expect(receipts.add(8000)).toBeUndefined();
  });
});
