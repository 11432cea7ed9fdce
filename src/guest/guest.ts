/** A guest from its image to its agent's first answer, and from there to nothing left of it. */
import { appendFile } from 'node:fs/promises';
import { describeError, errorCode, KithError } from '../base/errors.ts';
import type { RunDirectory } from '../base/guard.ts';
import type { Log } from '../base/log.ts';
import type { Port, RunHandler } from '../net/port.ts';
import type { ExecOptions, ExecResult } from './agent.ts';
import type { Accelerator } from './arguments.ts';
import type { GuestConfig } from './config.ts';
import { launch, type Launched } from './launch.ts';
import type { NetdevStats } from './netdev.ts';
import type { HostFacts } from './probe.ts';
import { awaitReady, noMemory } from './ready.ts';
import { residentMiB } from './resident.ts';
import type { SerialPage } from './serial.ts';

/** What a command in a guest came to. */
export type ExecOutcome = ExecResult;

/** What boots: a stored image fits as it is. */
export interface BootImage {
  readonly kernel: string;
  readonly initrd?: string | undefined;
  readonly disk?: { readonly path: string; readonly format: 'raw' } | undefined;
  readonly manifest: {
    readonly name: string;
    readonly commandLine: string;
    readonly memoryMiB: { readonly minimum: number };
    readonly agent: boolean;
  };
}

export interface BootOptions {
  readonly name: string;
  readonly image: BootImage;
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly config: GuestConfig;
  /** Sockets go in here. */
  readonly run: RunDirectory;
  /** Where the working disk lies, as a file without a name; default is the run directory, often a small one in memory. */
  readonly diskDirectory?: string | undefined;
  readonly host: HostFacts;
  readonly onRun: RunHandler;
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
  /** Spawn to the agent's first answer. Under software emulation a boot is 2.5 s alone and many times that on a busy host. */
  readonly readyTimeoutMs?: number;
  /** Called as soon as QEMU runs, long before the guest is up: a boot that hangs can be looked at. */
  readonly onConsole?: (console: GuestConsole) => void;
  /** Percent of the time of its own processors that the guest may take; default all of it. */
  readonly cpuPercent?: number | undefined;
  /** How much of the host's disk its working disk may take; a write beyond that fails in the guest. Default 8192. */
  readonly diskMiB?: number | undefined;
  /** SCHED_IDLE: runs only when nobody else wants the processor. Default true. */
  readonly idle?: boolean | undefined;
}

/** The serial console: everything that was printed since power-on, as far as it is kept, and a keyboard. */
export interface GuestConsole {
  log(offset: number, max: number): SerialPage;
  /** False: not taken. */
  type(bytes: Uint8Array): boolean;
}

export interface RunningGuest extends GuestConsole, AsyncDisposable {
  readonly name: string;
  /** Of QEMU. */
  readonly pid: number;
  readonly port: Port;
  readonly bootSeconds: number;
  readonly accelerator: Accelerator;
  exec(command: readonly string[], options: ExecOptions): Promise<ExecOutcome>;
  residentMiB(): Promise<number | undefined>;
  netStats(): NetdevStats;
  /** Stands still, and so does its clock, until `resume`. Commands in it time out meanwhile. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Percent of the time of its own processors, at least 5; undefined: no limit. Its clock stays right. */
  limitCpu(percent: number | undefined): Promise<void>;
  /** Why QEMU ended. Never rejects. */
  readonly exited: Promise<string>;
}

const READY_MS = 180_000;
/** A boot under KVM takes a second or two; one that takes this long hangs, as happens where /dev/kvm is broken (measured). */
const ACCELERATED_READY_MS = 20_000;

export async function bootGuest(options: BootOptions): Promise<RunningGuest> {
  const { name, image, memoryMiB, host, log } = options;
  const { minimum } = image.manifest.memoryMiB;
  if (memoryMiB < minimum) throw noMemory(name, memoryMiB, `image ${image.manifest.name} needs ${minimum} MiB`);
  if (!host.streamNetdev) {
    throw new KithError({
      code: 'guest.qemu-too-old',
      message: `cannot boot guest ${name}: this QEMU ${host.version} has no stream network backend`,
      hint: 'install a QEMU 7.2 or newer with it',
    });
  }
  const readyMs = options.readyTimeoutMs ?? READY_MS;
  if (host.accelerator === 'tcg') return bootWith('tcg', readyMs, options);
  try {
    return await bootWith(host.accelerator, Math.min(readyMs, ACCELERATED_READY_MS), options);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!['guest.boot-timeout', 'guest.qemu-exited'].includes(errorCode(error))) throw error;
    log.warn('accelerator failed, booting again under emulation', {
      guest: name,
      accelerator: host.accelerator,
      reason: describeError(error),
    });
    return bootWith('tcg', readyMs, options);
  }
}

async function bootWith(accelerator: Accelerator, readyMs: number, options: BootOptions): Promise<RunningGuest> {
  const { name, log } = options;
  const started = performance.now();
  const launched = await launch(options, accelerator);
  options.onConsole?.(consoleOf(launched));
  try {
    await awaitReady(launched, { name, readyMs, memoryMiB: options.memoryMiB, signal: options.signal });
  } catch (error) {
    await launched[Symbol.asyncDispose]();
    throw error;
  }
  const bootSeconds = (performance.now() - started) / 1000;
  log.info('booted guest', {
    guest: name,
    accelerator,
    seconds: Number(bootSeconds.toFixed(2)),
    pid: launched.process.pid,
  });
  await recordBoot(name);
  return running(name, launched, accelerator, bootSeconds);
}

function running(name: string, launched: Launched, accelerator: Accelerator, bootSeconds: number): RunningGuest {
  const { agent, netdev, qmp, process, exited } = launched;
  const { pid } = process;
  return {
    ...consoleOf(launched),
    name,
    pid,
    port: netdev,
    bootSeconds,
    accelerator,
    exited,
    exec: (command, options) => agent.exec(command, options),
    residentMiB: () => residentMiB(pid),
    netStats: () => netdev.stats(),
    pause: () => process.unthrottled(async () => void (await qmp.execute('stop'))),
    resume: () => process.unthrottled(async () => void (await qmp.execute('cont'))),
    limitCpu: (percent) => process.limitCpu(percent),
    [Symbol.asyncDispose]: () => launched[Symbol.asyncDispose](),
  };
}

const consoleOf = ({ serial }: Launched): GuestConsole => ({
  log: (offset, max) => serial.read(offset, max),
  type: (bytes) => serial.type(bytes),
});

/** For tests: one line per guest that really booted, in the file that the test run names. */
async function recordBoot(name: string): Promise<void> {
  const file = process.env['KITH_BOOT_LOG'];
  if (file) await appendFile(file, `${name}\n`).catch(() => {});
}
