/** One real guest: it boots, runs commands, prints, and leaves nothing. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCode } from '../../src/base/errors.ts';
import type { RunningGuest } from '../../src/guest/guest.ts';
import { microImage, openTestLan, sh, type TestLan } from '../harness/guest.ts';

const alive = (pid: number): boolean => existsSync(`/proc/${pid}`);

describe('a booted guest', () => {
  let lan: TestLan;
  let guest: RunningGuest;
  beforeAll(async () => {
    lan = await openTestLan();
    guest = await lan.boot(0);
  });
  afterAll(async () => {
    await lan[Symbol.asyncDispose]();
  });

  it('knows who it is', async () => {
    expect(await sh(guest, 'hostname; cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu')).toBe(
      'master\n52:54:00:00:00:01\n1400\n',
    );
    expect(await sh(guest, 'ip -o -4 addr show dev eth0')).toContain('inet 10.77.0.1/24');
    expect(await sh(guest, 'stat -c "%a" /root/.ssh/id_ed25519')).toBe('600\n');
    expect(await sh(guest, 'cat /proc/cmdline; ls /run')).not.toMatch(/PRIVATE|private-key|ssh-ed25519/);
  });

  it('stays within the memory that the project promises', async () => {
    expect(await guest.residentMiB()).toBeLessThanOrEqual(220);
  });

  it('gives back exit code, output and errors apart', async () => {
    const result = await guest.exec(['sh', '-c', 'echo out; echo err >&2; exit 7'], { timeoutMs: 30_000 });
    expect({ ...result, stdout: result.stdout.toString(), stderr: result.stderr.toString() }).toEqual({
      exitCode: 7,
      signal: undefined,
      stdout: 'out\n',
      stderr: 'err\n',
      truncated: false,
    });
  });

  it('says 127 for a program that does not exist, and the signal of one that was killed', async () => {
    expect((await guest.exec(['no-such-program'], { timeoutMs: 30_000 })).exitCode).toBe(127);
    const killed = await guest.exec(['sh', '-c', 'kill -9 $$'], { timeoutMs: 30_000 });
    expect([killed.exitCode, killed.signal]).toEqual([137, 9]);
  });

  it('passes arguments as they are, and standard input', async () => {
    const odd = ['two words', '$HOME', '"', "'", '-n', '*', 'ü', ''];
    const result = await guest.exec(['printf', '[%s]', ...odd], { timeoutMs: 30_000 });
    expect(result.stdout.toString()).toBe(odd.map((word) => `[${word}]`).join(''));
    const echoed = await guest.exec(['cat'], { timeoutMs: 30_000, stdin: Buffer.from([0, 255, 10, 13, 65]) });
    expect([...echoed.stdout]).toEqual([0, 255, 10, 13, 65]);
  });

  it('carries several megabytes of output, byte for byte', async () => {
    const result = await guest.exec(['sh', '-c', 'yes kith | head -c 4000000'], { timeoutMs: 120_000 });
    expect(result.truncated).toBe(false);
    expect(result.stdout.equals(Buffer.from('kith\n'.repeat(800_000)))).toBe(true);
  });

  it('kills a command that takes too long, with all its children, and answers the next', async () => {
    const failure = await guest.exec(['sh', '-c', 'sleep 4242 & sleep 4243'], { timeoutMs: 1000 }).catch(errorCode);
    expect(failure).toBe('guest.exec-timeout');
    expect(await sh(guest, 'ps | grep -c "[s]leep 424" || true')).toBe('0\n');
  });

  it('kills a command when its caller gives up', async () => {
    const controller = new AbortController();
    const work = guest.exec(['sleep', '4244'], { timeoutMs: 60_000, signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(work).rejects.toThrow('enough');
    expect(
      await sh(
        guest,
        'n=0; while ps | grep -q "[s]leep 4244"; do sleep 0.2; n=$((n+1)); [ $n -lt 100 ]; done; echo gone',
      ),
    ).toBe('gone\n');
  });

  it('answers many commands at once, each with its own output', async () => {
    const results = await Promise.all(
      Array.from({ length: 8 }, (_, index) => sh(guest, `echo ${index}; sleep 0.${index}`)),
    );
    expect(results).toEqual(Array.from({ length: 8 }, (_, index) => `${index}\n`));
  });

  it('has a console: log from the first line, and a shell to type to', async () => {
    expect(guest.log(0, 100_000).data.toString()).toContain('kith: ready');
    expect(guest.type(Buffer.from('echo typed-$((40+2)) >/dev/console; touch /run/typed\n'))).toBe(true);
    await sh(guest, 'until [ -e /run/typed ]; do sleep 0.1; done');
    const { data, total } = guest.log(0, 100_000);
    expect(data.toString()).toContain('typed-42');
    expect(guest.log(total, 10)).toEqual({ data: Buffer.alloc(0), offset: total, total });
  });

  it('has an agent that comes back after it was killed', async () => {
    const before = await sh(guest, 'pidof qemu-ga');
    await guest.exec(['sh', '-c', 'kill -9 $(pidof qemu-ga)'], { timeoutMs: 3000 }).catch(() => {});
    // The answer to whatever was under way when it died is lost; the next question after that is not.
    const after = async (): Promise<string> => sh(guest, 'pidof qemu-ga', 20_000).catch(after);
    expect(await after()).not.toBe(before);
  });
});

describe('the end of a guest', () => {
  it('leaves no process, no socket and no file', async () => {
    await using lan = await openTestLan();
    const guest = await lan.boot(1);
    expect(await readdir(lan.run.path)).not.toEqual([]);
    await guest[Symbol.asyncDispose]();
    expect(alive(guest.pid)).toBe(false);
    expect(await readdir(lan.run.path)).toEqual([]);
    expect(await guest.exited).toBe('stopped');
    expect(await guest.port.closed).toBe('the guest is gone');
    expect(guest.port.send(new Uint8Array(64))).toBe(false);
  });

  it('is noticed when the guest switches itself off', async () => {
    await using lan = await openTestLan();
    const guest = await lan.boot(1);
    guest.type(Buffer.from('poweroff -f\n'));
    expect(await guest.exited).toBe('exit code 0');
    await guest.port.closed;
    expect(await guest.exec(['true'], { timeoutMs: 5000 }).catch(errorCode)).toBe('guest.agent-closed');
  });
});

describe('a host whose accelerator does not keep its promise', () => {
  it('boots the guest under emulation instead', async () => {
    const { host } = await microImage();
    await using lan = await openTestLan();
    const guest = await lan.boot(0, { host: { ...host, accelerator: 'kvm' } });
    expect(guest.accelerator).toBe(host.accelerator);
    expect(await sh(guest, 'hostname')).toBe('master\n');
  });
});

describe('a guest that never comes up', () => {
  it('has too little memory, and the error says so', async () => {
    await using lan = await openTestLan();
    await expect(lan.boot(0, { memoryMiB: 80 })).rejects.toMatchObject({ code: 'guest.not-enough-memory' });
  });

  it('is found out by its panic where the image promises too much', async () => {
    await using lan = await openTestLan();
    const { image } = await microImage();
    const liar = { ...image, manifest: { ...image.manifest, memoryMiB: { minimum: 32, default: 80 } } };
    await expect(lan.boot(0, { memoryMiB: 84, image: liar })).rejects.toMatchObject({
      code: 'guest.not-enough-memory',
    });
    expect(await readdir(lan.run.path)).toEqual([]);
  });

  it('never speaks, and the error shows what its console last said', async () => {
    await using lan = await openTestLan();
    const { image } = await microImage();
    const mute = {
      ...image,
      manifest: {
        ...image.manifest,
        commandLine: 'console=ttyS0 rootfstype=ramfs rdinit=/bin/none root=/dev/none rootwait',
      },
    };
    const failure = lan.boot(0, { image: mute, readyTimeoutMs: 8000 });
    await expect(failure).rejects.toMatchObject({
      code: 'guest.boot-timeout',
      message: expect.stringMatching(/console/) as string,
    });
    expect(await readdir(lan.run.path)).toEqual([]);
  });

  it('has a QEMU that refuses its arguments, and the error carries what QEMU said', async () => {
    await using lan = await openTestLan();
    const { image } = await microImage();
    const failure = lan.boot(0, { image: { ...image, kernel: '/nonexistent/kernel' } });
    await expect(failure).rejects.toMatchObject({
      code: 'guest.qemu-exited',
      message: expect.stringMatching(/nonexistent/) as string,
    });
    expect(await readdir(lan.run.path)).toEqual([]);
  });

  it('is given up when the caller asks to stop', async () => {
    await using lan = await openTestLan();
    const controller = new AbortController();
    const boot = lan.boot(0, { signal: controller.signal });
    setTimeout(() => controller.abort(new Error('enough')), 500);
    await expect(boot).rejects.toThrow('enough');
    expect(await readdir(lan.run.path)).toEqual([]);
  });
});
