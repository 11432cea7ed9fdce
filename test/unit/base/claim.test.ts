/** Directories with a fixed name: who has one, who gets one, and what a late clean-up may not do. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import { openNamedRunDirectory } from '../../../src/base/guard.ts';
import { isOwnerAlive, ownerOf } from '../../../src/base/owner.ts';

const HOLDER = new URL('../../harness/directory-holder.ts', import.meta.url).pathname;
/** No process has it: larger than any pid_max (2^22, proc(5)). */
const DEAD_OWNER = '4194305 1';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-test-claim-'));
  path = join(folder, 'worker');
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const lives = (pid: number) => isOwnerAlive(ownerOf(pid));

/** Another process that has the directory; whatever the test does, it is gone afterwards. */
async function startHolder() {
  const child = spawn(process.execPath, [HOLDER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(createInterface({ input: child.stdout }), 'line');
  return child;
}

function watcherOf(owner: number): number {
  const watcher = readdirSync('/proc').find(
    (name) => /^\d+$/.test(name) && readText(`/proc/${name}/cmdline`).split('\0').includes(ownerOf(owner)),
  );
  return Number(watcher);
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // the process has ended
  }
}

test('a name is taken while its owner lives, and free again when it is given back', async () => {
  const first = await openNamedRunDirectory(path);
  await expect(openNamedRunDirectory(path)).rejects.toMatchObject({ code: 'base.directory-taken' });
  expect(await readdir(path)).toEqual(['owner']);
  await first[Symbol.asyncDispose]();
  await using _again = await openNamedRunDirectory(path);
});

test('a name that another process has is not taken from it', async () => {
  const holder = await startHolder();
  await expect(openNamedRunDirectory(path)).rejects.toThrow(`process ${holder.pid} has it`);
  expect(existsSync(path)).toBe(true);
});

test('the name of a killed owner is free again, and its late clean-up spares the next owner', async () => {
  const holder = await startHolder();
  const watcher = watcherOf(Number(holder.pid));
  process.kill(watcher, 'SIGSTOP'); // late: it cleans up when it is told to go on
  onTestFinished(() => {
    if (lives(watcher)) process.kill(watcher, 'SIGKILL');
  });
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  await using next = await openNamedRunDirectory(path);
  process.kill(watcher, 'SIGCONT');
  await vi.waitFor(() => expect(lives(watcher)).toBe(false), { timeout: 15_000, interval: 10 });
  expect(readFileSync(join(next.path, 'owner'), 'utf8')).toBe(`${ownerOf(process.pid)}\n`);
});

test('what a dead owner left behind goes to exactly one of many', async () => {
  await mkdir(path);
  await writeFile(join(path, 'owner'), `${DEAD_OWNER}\n`);
  await writeFile(join(path, 'control.sock'), '');
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => openNamedRunDirectory(path)));
  const [won, ...others] = results.filter((result) => result.status === 'fulfilled');
  const reasons = results.flatMap((result) => (result.status === 'rejected' ? [errorCode(result.reason)] : []));
  expect(others).toEqual([]);
  expect(reasons).toEqual(Array(7).fill('base.directory-taken'));
  expect(await readdir(path)).toEqual(['owner']);
  await won?.value[Symbol.asyncDispose]();
  expect(await readdir(folder)).toEqual([]);
});

test('an empty left-over is taken, a directory with things that are not ours is left alone', async () => {
  await mkdir(path);
  const foreign = join(folder, 'foreign');
  await mkdir(foreign);
  await writeFile(join(foreign, 'letter'), 'dear');
  const [mine, theirs] = await Promise.allSettled([openNamedRunDirectory(path), openNamedRunDirectory(foreign)]);
  expect(theirs).toMatchObject({ reason: { code: 'base.directory-taken' } });
  expect(await readFile(join(foreign, 'letter'), 'utf8')).toBe('dear');
  expect(mine.status).toBe('fulfilled');
  if (mine.status === 'fulfilled') await mine.value[Symbol.asyncDispose]();
});

test.each(['', 'nonsense', '1', '-5 1', '0 1', `${process.pid} 1`, DEAD_OWNER, '99999999999999999999 1', '1 dead'])(
  'an owner file with %j names nobody who lives',
  (text) => {
    expect(isOwnerAlive(text)).toBe(false);
  },
);

test('we live, and so does process 1, whose end nobody sees', () => {
  expect([isOwnerAlive(ownerOf(process.pid)), isOwnerAlive(`${ownerOf(1)}\n`)]).toEqual([true, true]);
});
