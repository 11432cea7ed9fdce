/** The queue in front of a connection is as long as the connection is fast. */
import { expect, test } from 'vitest';
import { createQueueLimit } from '../../../src/wire/queue-limit.ts';

const MOST = 1_048_576;

/** So many writes of 64 KiB at so many Mbit/s; the kernel takes three at once and lets the fourth wait for all of them. */
function after(writes: number, mbps: number, limit = createQueueLimit(MOST)) {
  const ms = (65_536 * 8) / 1000 / mbps;
  for (let i = 0; i < writes; i++) limit.wrote(65_536, i % 4 === 3 ? 4 * ms : 0);
  return limit;
}

test('a fast connection has all of it, from the start on', () => {
  expect(createQueueLimit(MOST).bytes).toBe(MOST);
  expect(after(100, 1000).bytes).toBe(MOST);
});

test('a slow one has what goes away in 50 ms, give or take a half', () => {
  const { bytes } = after(400, 50);
  expect(bytes).toBeGreaterThan((50_000 / 8) * 50 * 0.5);
  expect(bytes).toBeLessThan((50_000 / 8) * 50 * 1.5);
});

test('a very slow one still has room for two reads', () => {
  expect(after(400, 0.1).bytes).toBe(131_072);
});

test('one that becomes faster has more again', () => {
  expect(after(400, 1000, after(400, 1)).bytes).toBe(MOST);
});

test('single frames that waited behind a full buffer hardly count', () => {
  const limit = createQueueLimit(MOST);
  for (let i = 0; i < 10; i++) limit.wrote(100, 5);
  for (let i = 0; i < 20; i++) limit.wrote(500_000, 1);
  expect(limit.bytes).toBe(MOST);
});

test('a write of nothing changes nothing', () => {
  const limit = createQueueLimit(MOST);
  limit.wrote(0, 0);
  expect(limit.bytes).toBe(MOST);
});
