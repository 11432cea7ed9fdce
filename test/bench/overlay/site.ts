/** The laboratory: two network namespaces with a veth between, a folder, and processes that all end with it. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorCode, KithError } from '../../../src/base/errors.ts';
import { openNamedRunDirectory } from '../../../src/base/guard.ts';
import { findProgram } from '../../../src/base/process.ts';

export const SIDES = ['a', 'b'] as const;
export type Side = (typeof SIDES)[number];

/** Nothing else on a machine is called so: what a killed run left behind is known by it. */
const PREFIX = 'kith-bench-';
export const QEMU = 'qemu-system-x86_64';
const VETH = 'kbveth';
/** RFC 2544, C.2.2: addresses for benchmarks of networks. */
export const UNDERLAY = { a: '198.18.0.1', b: '198.18.0.2' } as const;
const UNDERLAY_MTU = 1500;
const COMMAND_MS = 15_000;
/** A process that is asked to end and does not. */
const KILL_MS = 2000;
/** The end of what a process said, for the error that names it. */
const SAID_CHARACTERS = 2000;

export interface Running extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
  readonly exited: Promise<string>;
  /** The end of what it printed. */
  said(): string;
}

export interface SpawnOptions {
  /** An IPC channel, for programs of Node. */
  readonly ipc?: boolean;
  /** Its standard input stays open and empty, for programs that end with it. */
  readonly stdin?: boolean;
}

export interface Site extends AsyncDisposable {
  readonly folder: string;
  readonly signal: AbortSignal;
  /** Starts a program on one side; it is killed with us, and with the site. */
  start(side: Side, argv: readonly [string, ...string[]], options?: SpawnOptions): Running;
  /** Runs a short command on one side to its end; throws with what it said. */
  run(side: Side, argv: readonly [string, ...string[]], timeoutMs?: number): Promise<string>;
}

export const namespaceOf = (side: Side): string => `${PREFIX}${side}`;

export function requireRoot(uid: number | undefined): void {
  if (uid === 0) return;
  throw new KithError({
    code: 'bench.not-root',
    message: 'the bench makes network namespaces and taps, which only root may',
    hint: 'run it again as root: sudo npm run bench',
  });
}

function alreadyRunning(cause: unknown): never {
  if (errorCode(cause) !== 'base.directory-taken') throw cause;
  throw new KithError({
    code: 'bench.running',
    message: 'another bench is running: its networks have the names that ours would have',
    hint: 'wait for its end',
    retry: 'later',
    cause,
  });
}

/** One at a time on a machine: networks and devices have fixed names. */
export async function openSite(signal: AbortSignal): Promise<Site> {
  // What a killed run has left goes here, and below.
  const run = await openNamedRunDirectory(join(tmpdir(), `${PREFIX}run`)).catch(alreadyRunning);
  removeNamespaces();
  const running = new Set<Running>();
  const start: Site['start'] = (side, argv, options = {}) => {
    signal.throwIfAborted();
    const one = startTied(['ip', 'netns', 'exec', namespaceOf(side), ...argv], options);
    running.add(one);
    void one.exited.then(() => running.delete(one));
    return one;
  };
  // Nobody waits for a turn to end who wants to stop.
  signal.addEventListener('abort', () => void Promise.all([...running].map((one) => one[Symbol.asyncDispose]())), {
    once: true,
  });
  const end = async (): Promise<void> => {
    await Promise.all([...running].map((one) => one[Symbol.asyncDispose]()));
    try {
      removeNamespaces();
    } finally {
      await run[Symbol.asyncDispose]();
    }
  };
  try {
    await build(signal);
  } catch (error) {
    await end();
    throw error;
  }
  return {
    folder: run.path,
    signal,
    start,
    async run(side, argv, timeoutMs = COMMAND_MS) {
      const one = start(side, argv);
      const timer = setTimeout(() => void one[Symbol.asyncDispose](), timeoutMs);
      const why = await one.exited;
      clearTimeout(timer);
      signal.throwIfAborted();
      if (why !== 'exit code 0') throw failed(argv, why, one.said());
      return one.said();
    },
    [Symbol.asyncDispose]: end,
  };
}

export const failed = (argv: readonly string[], why: string, said: string): KithError =>
  new KithError({
    code: 'bench.command',
    message: `${argv.join(' ')}: ${why}: ${said.trim().slice(-SAID_CHARACTERS)}`,
  });

/** In a session of its own, so that Ctrl-C in the terminal reaches us alone; killed by the kernel when we die. */
export function startTied(argv: readonly string[], { ipc = false, stdin = false }: SpawnOptions): Running {
  const setpriv = findProgram('setpriv');
  const [file = '', ...args] = setpriv ? [setpriv, '--pdeathsig', 'KILL', '--', ...argv] : argv;
  const child = spawn(file, args, {
    detached: true,
    stdio: [stdin ? 'pipe' : 'ignore', 'pipe', 'pipe', ...(ipc ? (['ipc'] as const) : [])],
    // Locale and user settings of whoever starts the bench change what programs print.
    env: { ...process.env, LC_ALL: 'C' },
  });
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => void chunks.push(chunk));
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code ?? 'unknown'}`));
  });
  return {
    pid: child.pid ?? 0,
    child,
    exited,
    said: () => Buffer.concat(chunks).toString('utf8'),
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) kill(child, 'SIGTERM');
      const timer = setTimeout(() => kill(child, 'SIGKILL'), KILL_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** With its group: sshd and ssh have children of their own. */
function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    child.kill(signal);
  }
}

function attemptKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

async function build(signal: AbortSignal): Promise<void> {
  for (const side of SIDES) {
    command(['ip', 'netns', 'add', namespaceOf(side)]);
    inside(side, ['ip', 'link', 'set', 'lo', 'up']);
  }
  signal.throwIfAborted();
  const ends = SIDES.flatMap((side) => (side === 'a' ? ['netns', namespaceOf(side)] : []));
  command(['ip', 'link', 'add', VETH, ...ends, 'type', 'veth', 'peer', 'name', VETH, 'netns', namespaceOf('b')]);
  for (const side of SIDES) {
    inside(side, ['ip', 'addr', 'add', `${UNDERLAY[side]}/24`, 'dev', VETH]);
    inside(side, ['ip', 'link', 'set', VETH, 'mtu', String(UNDERLAY_MTU), 'up']);
  }
}

const inside = (side: Side, argv: readonly string[]): void =>
  command(['ip', 'netns', 'exec', namespaceOf(side), ...argv]);

function command(argv: readonly string[]): void {
  const [file = '', ...args] = argv;
  const { status, stderr, error } = spawnSync(file, args, { encoding: 'utf8', timeout: COMMAND_MS });
  if (status !== 0) throw failed(argv, error?.message ?? `exit code ${status ?? 'unknown'}`, stderr ?? '');
}

/** Ours, and of a run that was killed: nobody else gives these names. */
function removeNamespaces(): void {
  const { stdout } = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' });
  const there = (stdout ?? '').split('\n').map((line) => line.split(' ')[0]);
  for (const side of SIDES) {
    if (!there.includes(namespaceOf(side))) continue;
    // Children of children, which setpriv does not tie to us (sshd's, for one): whatever runs in our namespace is ours.
    const pids = spawnSync('ip', ['netns', 'pids', namespaceOf(side)], { encoding: 'utf8' }).stdout ?? '';
    for (const pid of pids.split('\n').filter(Boolean)) attemptKill(Number(pid));
    command(['ip', 'netns', 'delete', namespaceOf(side)]);
  }
}

/** Bytes that the veth has carried, both ways: what an overlay costs while nobody uses it. */
export async function underlayBytes(site: Site): Promise<number> {
  const read = async (name: string): Promise<number> =>
    Number(await site.run('a', ['cat', `/sys/class/net/${VETH}/statistics/${name}_bytes`]));
  return (await read('rx')) + (await read('tx'));
}

/** The process and all that it has started. */
export function family(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
    return [pid, ...children.flatMap(family)];
  } catch {
    return [];
  }
}

const LOOK_AGAIN_MS = 10;
/** An OpenVPN handshake takes two seconds on an idle machine. */
const PATIENCE_MS = 40_000;

/** Waits until a program has come so far; throws with what it said when it ends or hangs instead. */
export async function until(come: () => boolean | Promise<boolean>, program: Running): Promise<void> {
  let why: string | undefined;
  const note = (reason: string): string => (why = reason);
  void program.exited.then(note);
  for (const deadline = performance.now() + PATIENCE_MS; !(await come());) {
    if (performance.now() > deadline) why ??= `nothing happened in ${PATIENCE_MS / 1000} s`;
    if (why !== undefined) throw failed(program.child.spawnargs, why, program.said());
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}
