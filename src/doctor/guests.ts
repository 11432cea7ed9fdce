/** Checks of this machine: can it run guests, how fast, in which box, and is there room for them. */
import { access, constants, rm } from 'node:fs/promises';
import { platform } from 'node:os';
import { join } from 'node:path';
import { findProgram, runCommand } from '../base/process.ts';
import type { Confinement } from '../guest/box.ts';
import { kernelSpeaks, probeHost, type HostFacts } from '../guest/probe.ts';
import { broken, fine, weak, type Check, type CheckContext, type Finding } from './check.ts';

/** What the packaged micro guest gets (src/job/define.ts), and what QEMU needs beside it (measured: 130 MiB). */
const SMALLEST_GUEST_MIB = 112 + 130;
/** Below this a second guest, or a guest with a real system in it, finds no room. */
const COMFORTABLE_MEMORY_MIB = 1024;
/** One image of 25 MB, unpacked beside its archive, and a working disk that may grow. */
const SMALLEST_DISK_MIB = 256;
const COMFORTABLE_DISK_MIB = 4096;

/** Emulated, a kernel speaks within 1 s (measured); a busy or old machine may take many times as long and still be of use. */
const EMULATED_MS = 30_000;

const PACKAGES =
  'install it with: apt install qemu-utils | dnf install qemu-img | pacman -S qemu-img | brew install qemu';

const qemu: Check = {
  name: 'QEMU',
  deadlineMs: 60_000,
  cost: 'no guest can run on this machine',
  async run(context) {
    const { version, qemu, streamNetdev } = await context.host();
    if (streamNetdev) return fine(`${version} (${qemu}), with netdev stream`);
    return broken(
      `${version} (${qemu}), built without netdev stream`,
      'guests here would have no LAN',
      'install the QEMU of your distribution, 7.2 or newer',
    );
  },
};

const qemuImg: Check = {
  name: 'qemu-img',
  deadlineMs: 30_000,
  cost: 'guests with a disk cannot run here, for nobody makes their working copy',
  async run(context, signal) {
    const program = findProgram('qemu-img', context.env);
    if (!program) return broken('qemu-img not found', this.cost, PACKAGES);
    const { exitCode, stdout, stderr } = await runCommand(program, ['--version'], { timeoutMs: 20_000, signal });
    signal.throwIfAborted();
    const version = /version (\d+(?:\.\d+)+)/.exec(stdout)?.[1];
    if (exitCode === 0 && version) return fine(`${version} (${program})`);
    return broken(`${program} does not run: ${stderr.slice(-200).trim() || 'no version'}`, this.cost, PACKAGES);
  },
};

const SLOW = 'guests run under software emulation, 8 to 18 times slower than the machine';

const accelerator: Check = {
  name: 'accelerator',
  after: ['QEMU'],
  deadlineMs: 60_000,
  cost: SLOW,
  async run(context, signal) {
    const image = await context.image();
    const kvm = await kvmDevice();
    if (!image) {
      return weak(
        `${kvm === 'usable' ? '/dev/kvm is there, but unproven' : 'nothing proven'}: there is no image to boot`,
        'nobody knows whether guests start here, nor how fast; until then they are emulated',
        'run kith demo once: it builds the micro image',
      );
    }
    // What was found out last week does not count: the next peer uses what is found now.
    await rm(join(context.paths.cache, 'accelerator.json'), { force: true });
    const host = await probeHost({
      cacheDir: context.paths.cache,
      kernel: image.kernel,
      signal,
      log: context.log,
      env: context.env,
    });
    if (host.accelerator !== 'tcg') return fine(`${host.accelerator}: a kernel really booted`);
    const why = host.arch === 'x86_64' ? WITHOUT_KVM[kvm] : FOREIGN_ARCHITECTURE;
    if (await kernelSpeaks(host, 'tcg', image.kernel, { patienceMs: EMULATED_MS, signal })) {
      return weak(`${why.found}; a kernel booted under software emulation`, SLOW, why.todo);
    }
    signal.throwIfAborted();
    return broken(
      `${why.found}, and no kernel booted in time under software emulation`,
      'guests do not start here, or so slowly that others give them up',
      'run it again while the machine is idle; if it stays so, install QEMU anew (with seabios)',
    );
  },
};

type Kvm = 'usable' | 'absent' | 'forbidden' | 'foreign';

async function kvmDevice(): Promise<Kvm> {
  if (platform() !== 'linux') return 'foreign';
  const can = (mode: number) =>
    access('/dev/kvm', mode).then(
      () => true,
      () => false,
    );
  if (await can(constants.R_OK | constants.W_OK)) return 'usable';
  return (await can(constants.F_OK)) ? 'forbidden' : 'absent';
}

const FOREIGN_ARCHITECTURE = {
  found: 'guests are x86_64, this machine is not',
  todo: 'lend memory and disk from here, and let an x86_64 machine do the computing',
};

/** Why an accelerator is not used, by the state of /dev/kvm. */
const WITHOUT_KVM: Readonly<Record<Kvm, { readonly found: string; readonly todo: string }>> = {
  usable: {
    found: '/dev/kvm opens, but a kernel did not boot with it',
    todo: 'in a virtual machine: ask for nested virtualization; on bare metal: update kernel and firmware',
  },
  absent: {
    found: 'there is no /dev/kvm',
    todo: 'switch on virtualization (VT-x, AMD-V) in the firmware and load kvm_intel or kvm_amd',
  },
  forbidden: { found: '/dev/kvm is not open to you', todo: 'run sudo usermod -aG kvm $USER and log in again' },
  foreign: {
    found: 'a kernel did not boot with the accelerator of this system',
    todo: 'update QEMU and the system',
  },
};

const WITHOUT_PART: Readonly<Record<Confinement, string>> = {
  namespaces: 'a guest that breaks out of QEMU finds your files and your network',
  seccomp: 'a guest that breaks out of QEMU may start programs and use the whole kernel',
  cgroup:
    'caps on memory and processors are kept by coarser means, which a guest that breaks out of QEMU can shake off',
  rlimits: 'a guest that breaks out of QEMU may open files and start processes without end',
  idle: 'guests compete with your own programs for the processor',
};

const confinement: Check = {
  name: 'confinement',
  after: ['QEMU'],
  deadlineMs: 60_000,
  cost: 'nobody knows how well guests are locked in; the default policy allows less',
  async run(context, signal) {
    const { qemu } = await context.host();
    const parts = await context.machine.confinement({ qemu, env: context.env, signal });
    return parts.map(({ name, ok, reason, hint }): Finding => {
      const found = reason ?? (ok ? 'works' : 'missing');
      if (ok) return { part: name, ...fine(found) };
      return {
        part: name,
        ...weak(
          found,
          `${WITHOUT_PART[name]}; the default policy allows less here`,
          hint ?? 'ask whoever runs this machine for it',
        ),
      };
    });
  },
};

/** Three answers to "how much is free": too little, little, enough. */
function measured(
  free: number,
  limits: { readonly least: number; readonly comfortable: number },
  words: { readonly what: string; readonly none: string; readonly few: string; readonly todo: string },
): Finding {
  const found = `${Math.floor(free)} MiB ${words.what}`;
  if (free < limits.least) return broken(`${found}, at least ${limits.least} needed`, words.none, words.todo);
  return free < limits.comfortable ? weak(found, words.few, words.todo) : fine(found);
}

const disk: Check = {
  name: 'disk',
  deadlineMs: 10_000,
  cost: 'images and working disks may find no room',
  async run({ machine, paths }) {
    return measured(
      await machine.freeDiskMiB(paths.cache),
      { least: SMALLEST_DISK_MIB, comfortable: COMFORTABLE_DISK_MIB },
      {
        what: `free below ${paths.cache}`,
        none: 'neither an image nor a working disk fits: no guest can run here',
        few: 'small images fit; a guest that fills its disk fills yours',
        todo: 'free some space, or let XDG_CACHE_HOME name a larger file system',
      },
    );
  },
};

const memory: Check = {
  name: 'memory',
  deadlineMs: 10_000,
  cost: 'guests may not fit',
  async run({ machine }) {
    return measured(
      machine.freeMemoryMiB(),
      { least: SMALLEST_GUEST_MIB, comfortable: COMFORTABLE_MEMORY_MIB },
      {
        what: 'free',
        none: 'the smallest guest does not fit, or drives your own programs into swap',
        few: 'one or two of the smallest guests fit, no more',
        todo: 'close some programs, or offer less with --memory',
      },
    );
  },
};

export const guestChecks: readonly Check[] = [qemu, qemuImg, accelerator, confinement, disk, memory];

/** Asked at most once per examination, without a kernel: what is booted, the accelerator check boots. */
export const askQemu = ({ paths, log, env }: Pick<CheckContext, 'paths' | 'log' | 'env'>): Promise<HostFacts> =>
  probeHost({ cacheDir: paths.cache, log, env });
