/** What this host can run guests with. An accelerator counts only if a real kernel speaks under it in time. */
import { access, constants, readFile } from 'node:fs/promises';
import { arch, platform, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { KithError } from '../base/errors.ts';
import { openRunDirectory } from '../base/guard.ts';
import type { Log } from '../base/log.ts';
import { writePrivate } from '../base/private-file.ts';
import { findProgram, runCommand, startChild } from '../base/process.ts';
import { acceleratorDevices, probeArguments, PROBE_MIB } from './arguments.ts';
import { guestLimits, type Confinement } from './box.ts';
import { confine } from './confine.ts';
import { probeConfinement } from './confinement.ts';

export interface HostFacts {
  /** Absolute path of qemu-system-x86_64. */
  readonly qemu: string;
  readonly version: string;
  /** The host's own architecture. */
  readonly arch: 'x86_64' | 'aarch64';
  readonly accelerator: 'kvm' | 'hvf' | 'tcg';
  /** What holds guests here, each part tried; `probeConfinement` says why the others are missing. */
  readonly confinement: readonly Confinement[];
  readonly streamNetdev: boolean;
}

export interface ProbeOptions {
  readonly cacheDir: string;
  /** Without one, no accelerator can be tried: the cached answer counts, else software emulation. */
  readonly kernel?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly log: Log;
  readonly env?: NodeJS.ProcessEnv;
}

/** Debian 12 has it; `-netdev stream` begins there. */
const OLDEST = [7, 2] as const;
/** A kernel speaks within 1 s of its start under plain emulation (measured); what takes longer than this does not work. */
const SPEAK_MS = 5000;
/** More than any kernel has. */
const LOADED_MIB = 64;
const COMMAND_MS = 20_000;
const INSTALL =
  'install it with: apt install qemu-system-x86 qemu-utils | dnf install qemu-system-x86-core qemu-img | pacman -S qemu-system-x86 qemu-img | brew install qemu';

export async function probeHost(options: ProbeOptions): Promise<HostFacts> {
  const qemu = findProgram('qemu-system-x86_64', options.env ?? process.env);
  if (!qemu)
    throw new KithError({ code: 'guest.qemu-missing', message: 'qemu-system-x86_64 not found', hint: INSTALL });
  const command = { timeoutMs: COMMAND_MS, ...(options.signal ? { signal: options.signal } : {}) };
  const [about, netdevs, findings] = await Promise.all([
    runCommand(qemu, ['--version'], command),
    runCommand(qemu, ['-M', 'none', '-netdev', 'help'], command),
    probeConfinement({ qemu, signal: options.signal, env: options.env }),
  ]);
  options.signal?.throwIfAborted();
  const host = {
    qemu,
    version: parseVersion(about.stdout, qemu),
    arch: arch() === 'arm64' ? ('aarch64' as const) : ('x86_64' as const),
    confinement: findings.filter(({ ok }) => ok).map(({ name }) => name),
    streamNetdev: /^stream\b/m.test(netdevs.stdout),
  };
  return { ...host, accelerator: await findAccelerator(host, options) };
}

/** `QEMU emulator version 7.2.22 (Debian …)`. */
export function parseVersion(text: string, path: string): string {
  const [, version, major, minor] = /version ((\d+)\.(\d+)[.\d]*)/.exec(text) ?? [];
  if (!version) {
    throw new KithError({ code: 'guest.qemu-missing', message: `${path} does not say its version`, hint: INSTALL });
  }
  const newness = Number(major) - OLDEST[0] || Number(minor) - OLDEST[1];
  if (newness >= 0) return version;
  throw new KithError({
    code: 'guest.qemu-too-old',
    message: `${path} is version ${version}, and guests need ${OLDEST.join('.')} or newer`,
    hint: `upgrade it; ${INSTALL}`,
  });
}

type Host = Omit<HostFacts, 'accelerator'>;

async function findAccelerator(host: Host, options: ProbeOptions): Promise<HostFacts['accelerator']> {
  const candidate = await candidateAccelerator(host);
  if (!candidate) return 'tcg';
  const file = join(options.cacheDir, 'accelerator.json');
  const key = `${host.version} ${platform()} ${release()} ${candidate}`;
  const known = await readCache(file, key);
  if (known !== undefined) return known ? candidate : 'tcg';
  if (!options.kernel) return 'tcg';
  const works = await kernelSpeaks(host, candidate, options.kernel, { signal: options.signal });
  options.signal?.throwIfAborted();
  options.log.info('probed accelerator', { accelerator: candidate, works });
  await writePrivate(file, JSON.stringify({ key, works }));
  return works ? candidate : 'tcg';
}

/** Guests are x86_64: another host can only emulate them. */
async function candidateAccelerator(host: Host): Promise<'kvm' | 'hvf' | undefined> {
  if (host.arch !== 'x86_64') return undefined;
  if (platform() === 'darwin') return 'hvf';
  const usable = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  return usable ? 'kvm' : undefined;
}

/**
 * Boots the kernel until it prints its first line. Nothing less will do: there are hosts where /dev/kvm opens and a small
 * test program succeeds, but a kernel aborts or hangs without a word (measured).
 */
export async function kernelSpeaks(
  host: Host,
  accelerator: HostFacts['accelerator'],
  kernel: string,
  { patienceMs = SPEAK_MS, signal }: { readonly patienceMs?: number; readonly signal?: AbortSignal | undefined },
): Promise<boolean> {
  await using folder = await openRunDirectory(tmpdir(), 'kith-probe-');
  const { program, args, env } = await confine([host.qemu, ...probeArguments(kernel, host, accelerator)], {
    confinement: host.confinement,
    contents: { read: [kernel], write: [], devices: acceleratorDevices(accelerator) },
    limits: guestLimits({ memoryMiB: PROBE_MIB, cpus: 1, diskBytes: 0, loadedMiB: LOADED_MIB }),
    filterPath: join(folder.path, 'f'),
    idle: false, // a busy host must not look like a broken accelerator
  });
  const child = startChild(program, args, {
    stdout: 'pipe',
    stderr: 'ignore',
    env,
    extendEnv: false,
    ...(signal ? { signal } : {}),
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  try {
    let seen = '';
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      seen = (seen + chunk.toString('latin1')).slice(-4096);
      if (seen.includes('Linux version')) return true;
    }
    return false;
  } catch {
    return false; // the pipe broke with the child
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    await child;
  }
}

async function readCache(file: string, key: string): Promise<boolean | undefined> {
  try {
    const value = JSON.parse(await readFile(file, 'utf8')) as { key?: unknown; works?: unknown };
    return value.key === key && typeof value.works === 'boolean' ? value.works : undefined;
  } catch {
    return undefined; // not there, or not ours: probe again
  }
}
