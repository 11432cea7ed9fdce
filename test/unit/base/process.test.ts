/** Children: found, run to their end, capped, and never left behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { findProgram, runCommand, startChild } from '../../../src/base/process.ts';

const PARENT = new URL('../../harness/parent-process.ts', import.meta.url).pathname;

describe('finding a program', () => {
  test('takes only what can be run, in the order of the PATH', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kith-test-path-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const [one, two, three] = ['one', 'two', 'three'].map((name) => join(folder, name)) as [string, string, string];
    await mkdir(join(one, 'tool'), { recursive: true });
    await mkdir(two);
    await mkdir(three);
    await writeFile(join(two, 'tool'), '');
    await writeFile(join(three, 'tool'), '');
    await chmod(join(three, 'tool'), 0o755);
    expect(findProgram('tool', { PATH: [one, two, three].join(':') })).toBe(join(three, 'tool'));
    expect(findProgram('tool', { PATH: [one, two].join(':') })).toBeUndefined();
  });

  test('looks where ordinary users do not', () => {
    expect(findProgram('chroot', { PATH: '' })).toBe('/usr/sbin/chroot');
  });
});

describe('a short command', () => {
  test('gives exit code and both outputs', async () => {
    const result = await runCommand('sh', ['-c', 'echo out; echo err >&2; exit 3'], { timeoutMs: 10_000 });
    expect(result).toEqual({ exitCode: 3, stdout: 'out', stderr: 'err' });
  });

  test('that does not exist is a result with a reason', async () => {
    const result = await runCommand('kith-no-such-program', [], { timeoutMs: 10_000 });
    expect(result.exitCode).toBeUndefined();
    expect(result.stderr).toContain('ENOENT');
  });

  test('that takes too long is ended, with a reason', async () => {
    const result = await runCommand('sleep', ['600'], { timeoutMs: 50 });
    expect(result.exitCode).toBeUndefined();
    expect(result.stderr).toContain('timed out');
  });

  test('that never stops talking is ended at ten megabytes', async () => {
    const result = await runCommand('yes', [], { timeoutMs: 60_000 });
    expect(result.exitCode).not.toBe(0);
    expect(result.stdout.length).toBeLessThanOrEqual(10_000_000);
  });

  test('ends with its signal', async () => {
    const stop = new AbortController();
    const running = runCommand('sleep', ['600'], { timeoutMs: 60_000, signal: stop.signal });
    stop.abort();
    expect((await running).exitCode).toBeUndefined();
  });
});

describe('a child', () => {
  test('resolves when it has ended, also on failure', async () => {
    expect(await startChild('sh', ['-c', 'exit 7'])).toMatchObject({ exitCode: 7, failed: true });
    expect(await startChild('kith-no-such-program', [])).toMatchObject({ failed: true, code: 'ENOENT' });
  });

  test('that ignores SIGTERM is killed', async () => {
    const child = startChild('sh', ['-c', 'trap "" TERM; echo ready; while :; do sleep 1; done'], { killAfterMs: 50 });
    if (child.stdout) await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect(await child).toMatchObject({ signal: 'SIGKILL' });
  });

  test.each(['start', 'run'])('(%s) dies when its parent is killed', async (how) => {
    const parent = spawn(process.execPath, [PARENT, how], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(createInterface({ input: parent.stdout }), 'line')) as [string];
    const pid = Number(line);
    // setpriv asks the kernel first and becomes the program then.
    await vi.waitFor(() => expect(readFileSync(`/proc/${pid}/comm`, 'utf8').trim()).toBe('sleep'), { timeout: 10_000 });
    parent.kill('SIGKILL');
    await vi.waitFor(() => expect(existsSync(`/proc/${pid}`)).toBe(false), { timeout: 10_000 });
  });
});
