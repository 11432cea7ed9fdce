/** The watch over a process: this one, measured against limits that it keeps and limits that it breaks. */
import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { residentMiB, watchUsage } from '../../../src/guest/resident.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const PLENTY = { residentMiB: 1_000_000, threads: 1_000_000 };

/** What the watch says first, with one look after the other until it says something. */
async function reasonFor(limits: Partial<typeof PLENTY>): Promise<string> {
  const clock = virtualClock();
  const said: string[] = [];
  const cancel = watchUsage({
    pid: process.pid,
    ...PLENTY,
    ...limits,
    clock,
    onExcess: (reason) => said.push(reason),
  });
  while (said.length === 0) {
    clock.advance(1000);
    await setImmediate();
  }
  cancel();
  return said.join();
}

it.skipIf(process.platform !== 'linux')('says which limit was broken, and by how much', async () => {
  expect(await reasonFor({ residentMiB: 1 })).toMatch(/^ended for its \d+ MiB of memory, more than the 1 that/);
  expect(await reasonFor({ threads: 1 })).toMatch(/^ended for its \d+ threads, more than the 1 that/);
});

it('knows nothing about a process that is gone', async () => {
  expect(await residentMiB(process.pid)).toBeGreaterThan(10);
  expect(await residentMiB(2 ** 22 + 1)).toBeUndefined();
});
