/** Real guests in the box: they run as before, stand still when told, keep to their share, and end in whatever state they are. */
import { existsSync, readFileSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readdir, readlink, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCode } from '../../src/base/errors.ts';
import { findProgram, startChild } from '../../src/base/process.ts';
import { probeConfinement } from '../../src/guest/confinement.ts';
import type { RunningGuest } from '../../src/guest/guest.ts';
import type { HostFacts } from '../../src/guest/probe.ts';
import { microImage, openTestLan, sh, type TestLan } from '../harness/guest.ts';

let host: HostFacts;
beforeAll(async () => {
  ({ host } = await microImage());
});

/** Field 3 of proc_pid_stat(5), after the name in brackets. */
const stateOf = (pid: number): string => /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1] ?? '';
const statusOf = (pid: number, field: string): string =>
  new RegExp(`^${field}:\\s+(.+)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? '';

/** A condition that others bring about; its bound is the test's own. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

describe('what can hold a guest here', () => {
  it('is found by trying, and what is missing comes with a reason and a way out', async () => {
    const findings = await probeConfinement({ qemu: host.qemu });
    expect(findings.map(({ name }) => name)).toEqual(['namespaces', 'seccomp', 'cgroup', 'rlimits', 'idle']);
    expect(host.confinement).toEqual(findings.filter(({ ok }) => ok).map(({ name }) => name));
    const unexplained = findings.filter(({ ok, reason, hint }) => !ok && !(reason && hint));
    expect(unexplained).toEqual([]);
  });

  it('is nothing where no program is there, and each says how to get it', async () => {
    const findings = await probeConfinement({ qemu: '/bin/false', env: { PATH: '/nonexistent' } });
    const missing = findings.filter(({ name }) => name !== 'seccomp');
    // The sbin folders, where findProgram looks as well, have none of them.
    expect(missing.map(({ name, ok }) => [name, ok])).toEqual(
      ['namespaces', 'cgroup', 'rlimits', 'idle'].map((name) => [name, false]),
    );
    expect(missing.map(({ hint }) => hint).join(' ')).toMatch(/apt install bubblewrap.*loginctl.*util-linux/);
  });
});

describe('a guest in the box', () => {
  let lan: TestLan;
  let guest: RunningGuest;
  beforeAll(async () => {
    lan = await openTestLan();
    guest = await lan.boot(0);
  });
  afterAll(async () => {
    await lan?.[Symbol.asyncDispose]();
  });

  it('is held by all that this host has', async ({ skip }) => {
    if (!host.confinement.includes('namespaces')) skip('no user namespaces here');
    expect(await readlink(`/proc/${guest.pid}/ns/net`)).not.toBe(await readlink('/proc/self/ns/net'));
    expect(await readlink(`/proc/${guest.pid}/ns/user`)).not.toBe(await readlink('/proc/self/ns/user'));
    expect(['CapEff', 'CapBnd', 'CapAmb'].map((set) => statusOf(guest.pid, set))).toEqual(
      Array(3).fill('0'.repeat(16)),
    );
    expect(statusOf(guest.pid, 'NoNewPrivs')).toBe('1');
    // Ours, and QEMU's own on top.
    expect(statusOf(guest.pid, 'Seccomp_filters')).toBe('2');
    const environment = readFileSync(`/proc/${guest.pid}/environ`, 'latin1').split('\0');
    expect(
      environment
        .map((entry) => entry.split('=')[0])
        .filter(Boolean)
        .toSorted((one = '', other = '') => one.localeCompare(other)),
    ).toEqual(['MALLOC_ARENA_MAX', 'PATH', 'PWD']);
  });

  it('stands still when it is paused, throttled or not, and goes on when it is told', async () => {
    await guest.limitCpu(20);
    await guest.pause();
    expect(await guest.exec(['true'], { timeoutMs: 1500 }).catch(errorCode)).toBe('guest.agent-timeout');
    await guest.resume();
    await guest.limitCpu(undefined);
    expect(await sh(guest, 'echo back', 120_000)).toBe('back\n');
  });

  it('runs in slices under a limit, in one piece without, and answers in both', async ({ skip }) => {
    if (host.confinement.includes('cgroup')) skip('here a cgroup does it');
    await guest.limitCpu(30);
    await until(() => stateOf(guest.pid) === 'T');
    expect(await sh(guest, 'echo slow', 120_000)).toBe('slow\n');
    await guest.limitCpu(undefined);
    await until(() => stateOf(guest.pid) !== 'T');
    expect(await sh(guest, 'echo fast')).toBe('fast\n');
  });
});

describe('the end of a guest', () => {
  it.each([
    ['paused', (guest: RunningGuest) => guest.pause()],
    ['stopped for most of its time', (guest: RunningGuest) => guest.limitCpu(5)],
  ])('comes when it is %s, too', async (_, bring) => {
    await using lan = await openTestLan();
    const guest = await lan.boot(0);
    await bring(guest);
    await guest[Symbol.asyncDispose]();
    expect(existsSync(`/proc/${guest.pid}`)).toBe(false);
    expect(await readdir(lan.run.path)).toEqual([]);
    expect(await guest.exited).toBe('stopped');
  });
});

describe('a QEMU that is killed', () => {
  it('takes its box along, and the reason is its own', async () => {
    await using lan = await openTestLan();
    const guest = await lan.boot(0);
    process.kill(guest.pid, 'SIGKILL');
    expect(await guest.exited).toBe('signal SIGKILL');
    expect(await guest.port.closed).toBe('the guest is gone');
  });
});

describe('a host that has no box', () => {
  it('still runs guests, and its facts say so', async () => {
    const confinement = host.confinement.filter((kind) => kind !== 'namespaces');
    await using lan = await openTestLan();
    const guest = await lan.boot(0, { host: { ...host, confinement }, cpuPercent: 90 });
    expect(await readlink(`/proc/${guest.pid}/ns/net`)).toBe(await readlink('/proc/self/ns/net'));
    expect(await sh(guest, 'hostname')).toBe('master\n');
  });
});

describe('an ordinary user', () => {
  const setpriv = findProgram('setpriv');
  const asRoot = process.getuid?.() === 0 && setpriv !== undefined;

  it.skipIf(!asRoot)('boots a guest in the same box', async () => {
    const home = await mkdtemp(join(tmpdir(), 'kith-user-'));
    try {
      await chmod(home, 0o755);
      const { image } = await microImage();
      const mine = join(home, 'image');
      await mkdir(mine);
      await cp(dirname(image.kernel), mine, { recursive: true });
      const script = new URL('../harness/user-guest.ts', import.meta.url).pathname;
      const drop = ['--reuid', '12345', '--regid', '12345', '--clear-groups', '--'];
      await startChild('chown', ['-R', '12345:12345', home]);
      const child = startChild(setpriv ?? '', [...drop, process.execPath, script, mine], {
        stdout: 'pipe',
        stderr: 'inherit',
        env: { HOME: home, TMPDIR: home },
      });
      const [line] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
      expect(JSON.parse(line.toString())).toEqual({
        confinement: host.confinement,
        hostname: 'master\n',
        uid: '12345 12345 12345 12345',
      });
      await child;
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  });
});
