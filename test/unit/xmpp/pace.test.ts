/** The pace against servers that throttle by reading slowly, under a virtual time. */
import { describe, expect, test } from 'vitest';
import { createPace } from '../../../src/xmpp/pace.ts';

/** Sends for so many seconds as the pace allows, one second's worth per receipt; the server reads `limit` bytes per second. */
function play(start: number, most: number, limit: number, seconds: number, hungry = true) {
  const pace = createPace({ bytesPerSecond: start, maxBytesPerSecond: most });
  let now = 0;
  let serverFree = 0;
  let worst = 0;
  const rates: number[] = [];
  while (now < seconds * 1000) {
    const askedAt = now;
    const bytes = hungry ? pace.bytesPerSecond * 0.85 : 10;
    serverFree = Math.max(serverFree, now) + (bytes / limit) * 1000;
    // The receipt comes when all before it was read; the next second's worth leaves a second later at the earliest.
    const answered = Math.max(serverFree - (bytes / limit) * 1000 * 0.7, askedAt + 20);
    now = Math.max(answered, askedAt + 1000);
    if (rates.length > 20) worst = Math.max(worst, answered - askedAt);
    pace.receipt({ askedAt, now: answered, bytes, hungry });
    rates.push(pace.bytesPerSecond);
  }
  return { rates, last: rates.at(-1)!, worst };
}

describe('the pace', () => {
  test('stays where it is with a server that keeps its word', () => {
    expect(play(10_000, 10_000, 10_000, 60).rates.every((rate) => rate === 10_000)).toBe(true);
  });

  test('comes down at once to what the server really bears, and stays there', () => {
    const { rates, worst } = play(100_000, 100_000, 10_000, 200);
    expect(rates[3]).toBeLessThan(15_000);
    const later = rates.slice(20);
    expect(Math.min(...later)).toBeGreaterThan(4000);
    expect(worst).toBeLessThan(3000);
  });

  test('feels its way up where it may, and sees the limit when it is there', () => {
    const { rates } = play(2000, 32_000, 10_000, 400);
    const later = rates.slice(-100);
    expect(Math.min(...later)).toBeGreaterThan(5000);
    expect(Math.max(...later)).toBeLessThan(20_000);
  });

  test('does not rise when nobody wants more', () => {
    expect(play(2000, 32_000, 1_000_000, 100, false).last).toBe(2000);
  });

  test('is never above what it may, nor below what signalling needs', () => {
    expect(play(2000, 6000, 1_000_000, 400).last).toBe(6000);
    expect(play(2000, 2000, 10, 400).last).toBeGreaterThanOrEqual(500);
  });
});
