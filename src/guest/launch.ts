/** One QEMU process with its channels and files, and their end. */
import { chmod, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import { findProgram, runCommand, startChild, type Child } from '../base/process.ts';
import { openAgent, type Agent } from './agent.ts';
import { guestArguments, type Accelerator, type GuestFiles } from './arguments.ts';
import { checkSocketPath, listenOnce } from './channels.ts';
import { encodeGuestConfig } from './config.ts';
import type { BootOptions } from './guest.ts';
import { openNetdev, type Netdev } from './netdev.ts';
import { openQmp, type Qmp } from './qmp.ts';
import { openSerial, type Serial } from './serial.ts';

export interface Launched extends AsyncDisposable {
  readonly pid: number;
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
/** QEMU ends 20 ms after `quit` (measured), unless its main loop hangs. */
const QUIT_MS = 3000;
const DISK_MS = 30_000;
const STDERR_CHARACTERS = 4000;

export async function launch(options: BootOptions, accelerator: Accelerator): Promise<Launched> {
  await using cleanup = new AsyncDisposableStack();
  const files = fileNames(options.run.path, options.diskDirectory ?? options.run.path);
  cleanup.defer(() => removeFiles(files));
  checkSocketPath(files.net);
  await writeFile(files.config, encodeGuestConfig(options.config), { mode: 0o600 });
  if (options.image.disk) await makeOverlay(options.image.disk.path, files.overlay, options.signal);
  const listeners = {
    qmp: cleanup.use(await listenOnce(files.qmp)),
    serial: cleanup.use(await listenOnce(files.serial)),
    agent: cleanup.use(await listenOnce(files.agent)),
  };
  options.signal?.throwIfAborted();

  const child = spawnQemu(options, files, accelerator);
  const stderr = collectStderr(child);
  let stopping = false;
  const exited = child.then((result) => {
    if (stopping) return 'stopped';
    return result.signal ? `signal ${result.signal}` : `exit code ${result.exitCode ?? 'unknown'}`;
  });
  const { pid } = child;
  if (pid === undefined) {
    throw new KithError({
      code: 'guest.qemu-missing',
      message: `cannot start ${options.host.qemu}`,
      hint: 'check that it is installed',
    });
  }
  options.run.adopt(pid);
  void exited.then(() => options.run.release(pid)); // its number may become somebody else's
  let qmp: Qmp | undefined;
  cleanup.defer(async () => {
    stopping = true;
    await endQemu(child, qmp);
  });

  const netdev = cleanup.use(
    openNetdev({
      name: options.name,
      path: files.net,
      mtu: options.config.mtu,
      onRun: options.onRun,
      log: options.log,
    }),
  );
  void exited.then(() => netdev[Symbol.asyncDispose]()); // nobody is left to dial
  const channels = Promise.all([listeners.qmp.accepted, listeners.serial.accepted, listeners.agent.accepted]);
  const alive = <T>(work: Promise<T>): Promise<T> => whileAlive(work, exited, stderr, options.name);
  const [qmpSocket, serialSocket, agentSocket] = await alive(channels);
  const serial = openSerial(serialSocket);
  const agent = openAgent(agentSocket);
  cleanup.defer(() => agent.close());
  qmp = await alive(openQmp(qmpSocket));
  // It answers only after it has opened its disk: the working disk needs no name any more, and goes with QEMU, however that ends.
  await rm(files.overlay, { force: true });
  const owned = cleanup.move();
  return {
    pid,
    agent,
    hasAgent: options.image.manifest.agent,
    serial,
    netdev,
    qmp,
    exited,
    stderr,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Short: the path of a socket may not be longer than 107 bytes. */
function fileNames(folder: string, diskFolder: string): GuestFiles {
  const id = shortId();
  const stem = join(folder, id);
  return {
    qmp: `${stem}.q`,
    serial: `${stem}.s`,
    agent: `${stem}.a`,
    net: `${stem}.n`,
    config: `${stem}.c`,
    overlay: join(diskFolder, `${id}.d`),
  };
}

async function removeFiles(files: GuestFiles): Promise<void> {
  for (const path of Object.values(files)) await rm(path, { force: true });
}

function spawnQemu(options: BootOptions, files: GuestFiles, accelerator: Accelerator): Child {
  const { image, host } = options;
  const args = guestArguments(
    {
      name: options.name,
      memoryMiB: options.memoryMiB,
      cpus: options.cpus,
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
  // chrt(1) needs no privilege for this class and becomes QEMU, so the process id stays the same.
  const chrt = options.idle === false ? undefined : findProgram('chrt');
  const [program, argv] = chrt ? [chrt, ['--idle', '0', host.qemu, ...args]] : [host.qemu, args];
  return startChild(program, argv, { stdout: 'ignore', stderr: 'pipe', killAfterMs: QUIT_MS });
}

function collectStderr(child: Child): () => string {
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString('utf8')).slice(-STDERR_CHARACTERS);
  });
  return () => text;
}

/**
 * A disk of the guest's own on top of the image's, which is never written. The base is raw, said aloud: a format that is
 * guessed, or qcow2, would let an image name other files of this host.
 */
async function makeOverlay(base: string, overlay: string, signal?: AbortSignal): Promise<void> {
  const program = findProgram('qemu-img');
  if (!program) {
    throw new KithError({
      code: 'guest.qemu-missing',
      message: 'qemu-img not found',
      hint: 'install it with: apt install qemu-utils',
    });
  }
  const args = ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, overlay];
  const result = await runCommand(program, args, { timeoutMs: DISK_MS, ...(signal ? { signal } : {}) });
  signal?.throwIfAborted();
  if (result.exitCode !== 0) {
    throw new KithError({
      code: 'guest.disk',
      message: `cannot make a working disk over ${base}: ${result.stderr.slice(-300)}`,
    });
  }
  await chmod(overlay, 0o600);
}

/** Work that needs a living QEMU: when it ends instead, what it said is the reason, not the socket that broke with it. */
async function whileAlive<T>(
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

/** Powering down politely is pointless: nothing in a working disk outlives the guest. */
async function endQemu(child: Child, qmp: Qmp | undefined): Promise<void> {
  const timer = setTimeout(() => child.kill('SIGKILL'), qmp ? QUIT_MS : 0);
  try {
    await qmp?.execute('quit', undefined, { timeoutMs: QUIT_MS });
  } catch {
    // Gone already, or hanging: the timer has the last word.
  }
  await child;
  clearTimeout(timer);
}
