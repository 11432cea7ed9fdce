/** What the doctor says of this machine: stand-ins for QEMU, and machines with less of everything. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { platform, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import type { CheckContext, Machine } from '../../../src/doctor/check.ts';
import { examine } from '../../../src/doctor/examine.ts';
import { askQemu, guestChecks } from '../../../src/doctor/guests.ts';
import type { StoredImage } from '../../../src/image/store.ts';
import { withoutAdvice } from '../../harness/doctor.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-doctor-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const HEALTHY: Machine = {
  now: () => 0,
  freeMemoryMiB: () => 8192,
  freeDiskMiB: async () => 100_000,
  confinement: async () => [{ name: 'seccomp', ok: true }],
};

async function program(name: string, script: string): Promise<void> {
  const path = join(folder, name);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
}

/** `speech`: what it does when it is told to boot a kernel. */
const fakeQemu = (speech: string, netdevs = 'stream') =>
  program(
    'qemu-system-x86_64',
    `case "$*" in
      --version) echo 'QEMU emulator version 8.2.1';;
      *netdev*) echo ${netdevs};;
      *-accel*) ${speech};;
      *) echo "not a valid device model" >&2; exit 1;;
    esac`,
  );

/** State and text of one check; what is not fine always has a cost and something to do. */
async function ask(name: string, more: { machine?: Partial<Machine>; image?: boolean } = {}) {
  const env = { PATH: folder };
  const paths = { cache: folder, config: folder, state: folder, runtime: folder };
  const context: CheckContext = {
    server: undefined,
    account: undefined,
    room: undefined,
    createRoom: false,
    iceServers: [],
    wireAddress: undefined,
    machine: { ...HEALTHY, ...more.machine },
    paths,
    env,
    log: silentLog,
    clock: virtualClock(),
    image: async () => (more.image ? ({ kernel: join(folder, 'kernel') } as StoredImage) : undefined),
    host: () => askQemu({ paths, env, log: silentLog }),
    session: () => Promise.reject(new Error('not here')),
  };
  const checks = guestChecks.filter((check) => check.name === name); // alone: nothing comes before it
  const result = await examine(checks, context, { signal: new AbortController().signal, onReport: () => {} });
  expect(withoutAdvice(result.checks)).toEqual([]);
  return result.checks;
}

describe('QEMU', () => {
  test('missing: broken, with the words to install it', async () => {
    const [report] = await ask('QEMU');
    expect(report).toMatchObject({ state: 'broken', found: 'qemu-system-x86_64 not found' });
    expect(report?.todo).toContain('apt install');
  });

  test('without netdev stream: broken, for guests would have no LAN', async () => {
    await fakeQemu('exit 1', 'socket');
    expect(await ask('QEMU')).toMatchObject([{ state: 'broken', cost: 'guests here would have no LAN' }]);
  });

  test('found: its version and path', async () => {
    await fakeQemu('exit 1');
    const found = `8.2.1 (${join(folder, 'qemu-system-x86_64')}), with netdev stream`;
    expect(await ask('QEMU')).toEqual([{ name: 'QEMU', state: 'fine', found }]);
  });

  test('qemu-img: missing, dumb, and found', async () => {
    expect(await ask('qemu-img')).toMatchObject([{ state: 'broken', found: 'qemu-img not found' }]);
    await program('qemu-img', 'echo "cannot open shared object" >&2; exit 127');
    expect(await ask('qemu-img')).toMatchObject([
      { state: 'broken', found: expect.stringContaining('shared object') as string },
    ]);
    await program('qemu-img', "echo 'qemu-img version 8.2.1 (Debian)'");
    expect(await ask('qemu-img')).toMatchObject([
      { state: 'fine', found: expect.stringMatching(/^8\.2\.1 /) as string },
    ]);
  });
});

describe('the accelerator', () => {
  const SPEAKS = 'echo "Linux version 6.1"';

  test('without an image nothing is proven, so nothing is called good', async () => {
    await fakeQemu(SPEAKS);
    const [report] = await ask('accelerator');
    expect(report).toMatchObject({ state: 'weak', found: expect.stringContaining('no image') as string });
    expect(report?.todo).toContain('kith demo');
  });

  test('what was found out before does not count: it is booted now', async () => {
    await fakeQemu(`case "$*" in *tcg*) ${SPEAKS};; *) exit 1;; esac`);
    const key = `8.2.1 ${platform()} ${release()} kvm`; // src/guest/probe.ts
    await writeFile(join(folder, 'accelerator.json'), JSON.stringify({ key, works: true }));
    expect(await ask('accelerator', { image: true })).toMatchObject([
      { state: 'weak', found: expect.stringContaining('a kernel booted under software emulation') as string },
    ]);
  });

  test('a machine on which no kernel says a word is broken', async () => {
    await fakeQemu('exit 1');
    expect(await ask('accelerator', { image: true })).toMatchObject([
      { state: 'broken', found: expect.stringContaining('no kernel booted') as string },
    ]);
  });
});

describe('room for guests', () => {
  test.each([
    [100, 'broken'],
    [241, 'broken'],
    [600, 'weak'],
    [8192, 'fine'],
  ])('%i MiB of memory: %s', async (free, state) => {
    expect(await ask('memory', { machine: { freeMemoryMiB: () => free } })).toMatchObject([{ state }]);
  });

  test.each([
    [10, 'broken'],
    [1000, 'weak'],
    [100_000, 'fine'],
  ])('%i MiB of disk: %s', async (free, state) => {
    expect(await ask('disk', { machine: { freeDiskMiB: async () => free } })).toMatchObject([{ state }]);
  });
});

describe('the box', () => {
  beforeEach(() => fakeQemu('exit 1'));

  test('one line per part; what is missing makes it weak, with the reason', async () => {
    const confinement: Machine['confinement'] = async () => [
      { name: 'seccomp', ok: true },
      { name: 'namespaces', ok: false, reason: 'bwrap not found', hint: 'apt install bubblewrap' },
      { name: 'cgroup', ok: false },
    ];
    expect(await ask('confinement', { machine: { confinement } })).toMatchObject([
      { name: 'confinement: seccomp', state: 'fine', found: 'works' },
      { name: 'confinement: namespaces', state: 'weak', found: 'bwrap not found', todo: 'apt install bubblewrap' },
      { name: 'confinement: cgroup', state: 'weak', found: 'missing' },
    ]);
  });

  test('a probe that fails is broken, not fine', async () => {
    const confinement = () => Promise.reject(new Error('bwrap: setting up uid map: Permission denied'));
    expect(await ask('confinement', { machine: { confinement } })).toMatchObject([{ state: 'broken' }]);
  });
});
