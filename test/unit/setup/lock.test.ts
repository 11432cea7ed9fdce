/** Two set-ups at once: the second waits; a dead one is in nobody's way. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { takeLock } from '../../../src/setup/lock.mjs';

const HOLDER = new URL('../../harness/lock-process.mjs', import.meta.url).pathname;

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-test-lock-'));
  path = join(folder, 'lock');
});

afterEach(() => rm(folder, { recursive: true }));

function startHolder() {
  const child = spawn(process.execPath, [HOLDER, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  return { child, held: once(child.stdout, 'data'), ended: once(child, 'exit') };
}

test('given back, nothing is left', async () => {
  const giveBack = await takeLock(path);
  giveBack();
  expect(await readdir(folder)).toEqual([]);
});

test('waits for another process, and says for which', async () => {
  const { child, held, ended } = startHolder();
  await held;
  const order: string[] = [];
  const giveBack = await takeLock(path, {
    onWait: (holder) => {
      order.push(`waiting for ${holder}`);
      child.stdin.write('end\n');
    },
  });
  order.push('mine');
  giveBack();
  await ended;
  expect(order).toEqual([`waiting for ${child.pid}`, 'mine']);
  expect(await readdir(folder)).toEqual(['lock-diary']);
});

test('takes over from a process that was killed', async () => {
  const { child, held, ended } = startHolder();
  await held;
  child.kill('SIGKILL');
  await ended;
  let waited = false;
  const giveBack = await takeLock(path, { onWait: () => (waited = true) });
  giveBack();
  expect(waited).toBe(false);
});

test('a process that got the id of a dead holder does not keep the lock', async () => {
  await writeFile(path, `${process.pid} 1`); // our id, started with the machine: not us
  const giveBack = await takeLock(path, { onWait: () => expect.unreachable('nobody holds it') });
  giveBack();
  expect(await readdir(folder)).toEqual([]);
});

test('many takers of a dead lock hold it one after the other', async () => {
  await writeFile(path, '999999999 1');
  const takers = Array.from({ length: 6 }, async () => {
    const { child, held, ended } = startHolder();
    await held;
    child.stdin.write('end\n');
    await ended;
  });
  await Promise.all(takers);
  const diary = (await readFile(`${path}-diary`, 'utf8')).trimEnd().split('\n');
  expect(diary).toHaveLength(12);
  for (let index = 0; index < diary.length; index += 2) {
    expect(diary[index]).toMatch(/^takes /);
    expect(diary[index + 1]).toBe(diary[index]?.replace('takes', 'gives'));
  }
});
