/** The memory wire: the contract, and time and loss as the test wants them. */
import { expect, test } from 'vitest';
import { memoryPair } from '../../../src/wire/memory.ts';
import { wireContract } from '../../contract/wire.ts';
import { createInbox } from '../../harness/inbox.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

wireContract('memory', async (onBatch) => memoryPair({ onBatch }));

test('latency is spent on the clock', () => {
  const clock = virtualClock();
  const inbox = createInbox();
  const [a] = memoryPair({ onBatch: [() => {}, inbox.take], clock, latencyMs: 30 });
  a.send(new Uint8Array(16));
  clock.advance(29);
  expect(inbox.items).toHaveLength(0);
  clock.advance(1);
  expect(inbox.items).toHaveLength(1);
});

test('a lost batch counts as sent', async () => {
  const inbox = createInbox();
  const rolls = [0.1, 0.9];
  const [a] = memoryPair({ onBatch: [() => {}, inbox.take], loss: 0.5, random: () => rolls.shift() ?? 1 });
  expect([a.send(Uint8Array.of(1)), a.send(Uint8Array.of(2))]).toEqual([true, true]);
  expect(await inbox.until(1)).toEqual([Uint8Array.of(2)]);
  expect(a.stats().sentBytes).toBe(2);
});
