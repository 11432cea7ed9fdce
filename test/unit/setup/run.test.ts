/** The command that everything is started by: which Node, which arguments, which signals, which exit code. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, link, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';

const RUN = new URL('../../../src/setup/run.mjs', import.meta.url).pathname;
const ENTRY = new URL('../../harness/entry-process.ts', import.meta.url).pathname;

/** A Node that is not the pinned one, as on the machine of a newcomer: the same file under another name. */
let folder: string;
let otherNode: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-test-node-'));
  otherNode = join(folder, 'node');
  await link(process.execPath, otherNode).catch(() => copyFile(process.execPath, otherNode));
});
afterAll(() => rm(folder, { recursive: true }));

interface Said {
  readonly pid?: number;
  readonly version?: string;
  readonly args?: readonly string[];
  readonly cwd?: string;
  readonly signal?: string;
}

function start(
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
  node = otherNode,
) {
  const child = spawn(node, [RUN, ENTRY, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
    ...options,
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<Said | undefined> => {
    const { value, done } = await lines.next();
    return done ? undefined : (JSON.parse(value) as Said);
  };
  return { child, next, ended: once(child, 'exit') };
}

test('runs the entry on this Node, with its arguments, in the folder of the caller', async () => {
  const { child, next, ended } = start(['wait', '--json', 'a b', ''], { cwd: tmpdir() });
  expect(await next()).toMatchObject({ version: 'v24.21.0', args: ['--json', 'a b', ''], cwd: tmpdir() });
  child.stdin.write('end\n');
  expect(await ended).toEqual([0, null]);
});

test.each([
  [['exit', '0'], 0],
  [['exit', '69'], 69],
  [['die'], 137],
])('%j ends with %d', async (args, code) => {
  const { ended } = start(args);
  expect(await ended).toEqual([code, null]);
});

test('on the pinned Node there is no second process', async () => {
  const { child, next, ended } = start(['wait', 'x'], {}, process.execPath);
  expect(await next()).toMatchObject({ pid: child.pid, args: ['x'] });
  child.stdin.write('end\n');
  expect(await ended).toEqual([0, null]);
  expect(await start(['exit', '69'], {}, process.execPath).ended).toEqual([69, null]);
});

test('each signal arrives once, also when npm passes on what the terminal has sent', async () => {
  const { child, next, ended } = start(['wait']);
  await next();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.kill(-Number(child.pid), signal); // the terminal, to its foreground group
    child.kill(signal); // npm, to its child
    expect(await next()).toEqual({ signal });
  }
  child.stdin.write('end\n');
  expect(await next()).toBeUndefined();
  expect(await ended).toEqual([0, null]);
});

test('when the starter is killed, the program is told', async () => {
  const { child, next } = start(['wait']);
  await next();
  child.kill('SIGKILL');
  expect(await next()).toEqual({ signal: 'SIGTERM' });
});

test('without the right to install it prints the commands and ends with 69', async () => {
  // A PATH with the shell tools of this machine but no QEMU; sbin folders are looked at anyway, and QEMU is never there.
  const folder = await mkdtemp(join(tmpdir(), 'kith-test-path-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  for (const name of await readdir('/usr/bin')) {
    if (!/^(qemu|sudo$|apt-get$|dnf$|pacman$|brew$)/.test(name))
      await symlink(join('/usr/bin', name), join(folder, name));
  }
  const child = spawn(process.execPath, [RUN, ENTRY, 'exit', '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: folder },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  expect(await once(child, 'close')).toEqual([69, null]);
  expect(stdout).toBe('');
  expect(stderr).toContain('cannot start: qemu-system-x86_64, qemu-img, apt-get not found');
  for (const command of ['sudo apt-get install', 'sudo dnf install', 'sudo pacman -S', 'brew install']) {
    expect(stderr).toContain(command);
  }
});
