/** Run directories and what is in them, when their owner goes: in order, killed, or after its watcher. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { openNamedRunDirectory, openRunDirectory } from '../../../src/base/guard.ts';

const OWNER = new URL('../../harness/guard-process.ts', import.meta.url).pathname;
/** How long a condition may take on a busy machine before the test says that it never came. */
const PATIENCE = { timeout: 15_000, interval: 20 };

let parent: string;

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'kith-test-guard-'));
});

afterEach(() => rm(parent, { recursive: true, force: true }));

/** Processes whose command line says that they watch this path. */
function watchersOf(path: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return args.includes('kith-guard') && args.includes(path);
      } catch {
        return false; // it ended in this moment
      }
    })
    .map(Number);
}

function isRunning(pid: number): boolean {
  try {
    // A zombie is dead; only its parent has not looked yet.
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

async function startOwner() {
  const child = spawn(process.execPath, [OWNER, parent], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const facts = JSON.parse(line) as Record<'adopted' | 'released' | 'grandchild' | 'spared', number> & { path: string };
  onTestFinished(() => {
    for (const pid of [Number(child.pid), facts.adopted, facts.released, facts.grandchild, facts.spared])
      if (isRunning(pid)) process.kill(pid, 'SIGKILL');
  });
  return { child, ended: once(child, 'exit'), ...facts };
}

test('disposing removes the directory, what is in it, and the watcher', async () => {
  const directory = await openRunDirectory(parent, 'run-');
  expect(statSync(directory.path).mode & 0o777).toBe(0o700);
  await writeFile(join(directory.path, 'file'), 'content');
  expect(watchersOf(directory.path)).toHaveLength(1);
  await directory[Symbol.asyncDispose]();
  expect(readdirSync(parent)).toEqual([]);
  expect(watchersOf(directory.path)).toEqual([]);
});

test('disposing twice is disposing once', async () => {
  const directory = await openRunDirectory(parent, 'run-');
  await Promise.all([directory[Symbol.asyncDispose](), directory[Symbol.asyncDispose]()]);
  expect(existsSync(directory.path)).toBe(false);
});

test('a directory with a fixed name is not taken from somebody else', async () => {
  await using directory = await openNamedRunDirectory(join(parent, 'fixed'));
  await expect(openNamedRunDirectory(directory.path)).rejects.toMatchObject({
    code: 'base.directory-taken',
  });
  expect(existsSync(directory.path)).toBe(true);
});

test('a name with shell characters is only a name', async () => {
  const directory = await openNamedRunDirectory(join(parent, '$(touch x); rm -rf "y'));
  await directory[Symbol.asyncDispose]();
  expect(readdirSync(parent)).toEqual([]);
});

test('killed, the owner leaves no directory and no adopted process with its group; a released one lives on', async () => {
  const { child, ended, path, adopted, released, grandchild, spared } = await startOwner();
  expect([adopted, grandchild].map(isRunning)).toEqual([true, true]);
  child.kill('SIGKILL');
  await ended;
  await vi.waitFor(() => {
    expect(existsSync(path)).toBe(false);
    expect(watchersOf(path)).toEqual([]);
  }, PATIENCE);
  expect([adopted, grandchild].map(isRunning)).toEqual([false, false]);
  expect([released, spared].map(isRunning)).toEqual([true, true]);
});

test('with its watcher killed before, too: there is a new one', async () => {
  const { child, ended, path, adopted, released } = await startOwner();
  const [first] = watchersOf(path);
  process.kill(Number(first), 'SIGKILL');
  await vi.waitFor(() => {
    const now = watchersOf(path);
    expect(now).toHaveLength(1);
    expect(now).not.toContain(first);
  }, PATIENCE);
  child.kill('SIGKILL');
  await ended;
  await vi.waitFor(() => expect(existsSync(path)).toBe(false), PATIENCE);
  expect(isRunning(adopted)).toBe(false);
  expect(isRunning(released)).toBe(true);
});

test('signals that end the owner do not end the watcher before its work', async () => {
  const { child, ended, path } = await startOwner();
  for (const pid of watchersOf(path)) {
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.kill(pid, signal);
  }
  child.kill('SIGTERM');
  await ended;
  await vi.waitFor(() => expect(existsSync(path)).toBe(false), PATIENCE);
});
