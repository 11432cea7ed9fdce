/** One QEMU process with its channels and files, and their end. */
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import { openAgent, type Agent } from './agent.ts';
import { acceleratorDevices, guestArguments, type Accelerator, type GuestFiles } from './arguments.ts';
import { guestLimits, guestScope, residentLimitMiB } from './box.ts';
import { listenOnce } from './channels.ts';
import { encodeGuestConfig } from './config.ts';
import { confine } from './confine.ts';
import { makeOverlay } from './disk.ts';
import type { BootOptions } from './guest.ts';
import { openNetdev, type Netdev } from './netdev.ts';
import { startQemu, type QemuProcess, type Starting } from './process.ts';
import { openQmp, type Qmp } from './qmp.ts';
import { openSerial, type Serial } from './serial.ts';

export interface Launched extends AsyncDisposable {
  readonly process: QemuProcess;
  readonly agent: Agent;
  readonly hasAgent: boolean;
  readonly serial: Serial;
  readonly netdev: Netdev;
  readonly qmp: Qmp;
  readonly exited: Promise<string>;
  /** The end of what QEMU said on its standard error. */
  stderr(): string;
}

/** QEMU dials its channels before it does anything slow. */
const DIAL_MS = 20_000;
/** Between a socket that breaks and the news that its process has ended. */
const DYING_MS = 2000;
/** What a working disk may take of the host's when nobody says otherwise. */
const DISK_MIB = 8192;

export async function launch(options: BootOptions, accelerator: Accelerator): Promise<Launched> {
  await using cleanup = new AsyncDisposableStack();
  const { image, host, signal } = options;
  const id = shortId();
  // Of its own: nothing else lies in here that its box could show it. A short name, for a socket's path has 107 bytes.
  const folder = join(options.run.path, id);
  const files = fileNames(folder, join(options.diskDirectory ?? folder, `${id}.d`));
  cleanup.defer(async () => {
    await rm(files.overlay, { force: true });
    await rm(folder, { recursive: true, force: true });
  });
  await mkdir(folder, { mode: 0o700 });
  await writeFile(files.config, encodeGuestConfig(options.config), { mode: 0o600 });
  if (image.disk) {
    const { confinement } = host;
    await makeOverlay({ base: image.disk.path, overlay: files.overlay, folder, confinement, signal });
  }
  const listeners = {
    qmp: cleanup.use(await listenOnce(files.qmp)),
    serial: cleanup.use(await listenOnce(files.serial)),
    agent: cleanup.use(await listenOnce(files.agent)),
    net: cleanup.use(await listenOnce(files.net)),
  };
  signal?.throwIfAborted();

  const starting = cleanup.use(await startBoxed(options, accelerator, id, folder, files));
  const { exited } = starting;
  const stderr = (): string => starting.stderr();
  const alive = <T>(work: Promise<T>): Promise<T> => whileAlive(work, exited, stderr, options.name);
  const qemu = await alive(starting.started);
  const { qmp: control, serial: line, agent: port, net } = listeners;
  const channels = Promise.all([control.accepted, line.accepted, port.accepted, net.accepted]);
  const [qmpSocket, serialSocket, agentSocket, netSocket] = await alive(channels);
  const { name, log, onRun, config } = options;
  const netdev = cleanup.use(openNetdev({ name, socket: netSocket, mtu: config.mtu, onRun, log }));
  const serial = openSerial(serialSocket);
  const agent = openAgent(agentSocket);
  cleanup.defer(() => agent.close());
  const qmp = await alive(openQmp(qmpSocket));
  qemu.quitBy(qmp);
  // It answers only after it has opened its disk: the working disk needs no name any more, and goes with QEMU, however that ends.
  await rm(files.overlay, { force: true });
  const owned = cleanup.move();
  return {
    process: qemu,
    agent,
    hasAgent: image.manifest.agent,
    serial,
    netdev,
    qmp,
    exited,
    stderr,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const fileNames = (folder: string, overlay: string): GuestFiles => ({
  qmp: join(folder, 'q'),
  serial: join(folder, 's'),
  agent: join(folder, 'a'),
  net: join(folder, 'n'),
  config: join(folder, 'c'),
  overlay,
});

async function startBoxed(
  options: BootOptions,
  accelerator: Accelerator,
  id: string,
  folder: string,
  files: GuestFiles,
): Promise<Starting> {
  const { image, host, cpus, memoryMiB } = options;
  const args = guestArguments(
    {
      name: options.name,
      memoryMiB,
      cpus,
      mac: options.config.mac,
      mtu: options.config.mtu,
      kernel: image.kernel,
      initrd: image.initrd,
      commandLine: image.manifest.commandLine,
      hasDisk: image.disk !== undefined,
      files,
    },
    host,
    accelerator,
  );
  options.log.debug('starting QEMU', { guest: options.name, arguments: args });
  const initrd = image.initrd === undefined ? [] : [image.initrd];
  const disk = image.disk === undefined ? [] : [image.disk.path];
  const size = {
    memoryMiB,
    cpus,
    diskBytes: image.disk ? (options.diskMiB ?? DISK_MIB) * 2 ** 20 : 0,
    loadedMiB: await sizeMiB([image.kernel, ...initrd]),
  };
  const limits = guestLimits(size);
  const unit = host.confinement.includes('cgroup') ? `kith-guest-${id}` : undefined;
  const confined = await confine([host.qemu, ...args], {
    confinement: host.confinement,
    contents: {
      read: [folder, image.kernel, ...initrd, ...disk],
      write: image.disk ? [files.overlay] : [],
      devices: acceleratorDevices(accelerator),
    },
    limits,
    scope: unit === undefined ? undefined : guestScope(unit, size, options.cpuPercent ?? 100),
    filterPath: join(folder, 'f'),
    idle: options.idle,
    report: true,
  });
  return startQemu({
    qemu: host.qemu,
    confined,
    run: options.run,
    cpus,
    cpuPercent: options.cpuPercent,
    residentMiB: residentLimitMiB(size),
    threads: limits.threads,
    unit,
  });
}

/** A file that is not there counts nothing: QEMU says so better. */
async function sizeMiB(paths: readonly string[]): Promise<number> {
  const sizes = await Promise.all(
    paths.map((path) =>
      stat(path).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return Math.ceil(sizes.reduce((sum, size) => sum + size, 0) / 2 ** 20);
}

/** Work that needs a living QEMU: when it ends instead, what it said is the reason, not the socket that broke with it. */
export async function whileAlive<T>(
  work: Promise<T>,
  exited: Promise<string>,
  stderr: () => string,
  name: string,
): Promise<T> {
  const dead = Promise.withResolvers<never>();
  dead.promise.catch(() => {}); // also when the work fails first
  const refuse = (why: string): void => {
    const message = `QEMU for guest ${name} did not start: ${stderr().trim() || why}`;
    dead.reject(new KithError({ code: 'guest.qemu-exited', message, retry: 'later' }));
  };
  const timer = setTimeout(() => refuse(`it was silent for ${DIAL_MS / 1000} s`), DIAL_MS);
  void exited.then(refuse);
  try {
    return await Promise.race([work, dead.promise]);
  } catch (error) {
    const moment = new Promise((resolve) => setTimeout(resolve, DYING_MS));
    await Promise.race([dead.promise, moment]);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
