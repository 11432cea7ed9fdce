/** kill -9 of the peer: its guests and its files go with it. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { startChild } from '../../src/base/process.ts';

it('ends QEMU and removes the run directory when the process that booted it is killed', async () => {
  const script = new URL('../harness/guest-holder.ts', import.meta.url).pathname;
  const child = startChild(process.execPath, [script], { stdout: 'pipe', stderr: 'inherit' });
  const [line] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  const { pid, folder } = JSON.parse(line.toString()) as { pid: number; folder: string };
  expect([existsSync(`/proc/${pid}`), existsSync(folder)]).toEqual([true, true]);
  child.kill('SIGKILL');
  await child;
  // The kernel and the guard do their work after the death, so this is a condition with a bound, not a moment.
  for (let tries = 0; tries < 200 && (existsSync(`/proc/${pid}`) || existsSync(folder)); tries++) await sleep(50);
  expect([existsSync(`/proc/${pid}`), existsSync(folder)]).toEqual([false, false]);
});
