/** Real `kith` processes in a private folder: started, read, ended by pid, and looked for afterwards. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { startChild, type Child } from '../../src/base/process.ts';

const KITH = new URL('../../src/cli/kith.mjs', import.meta.url).pathname;
const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;
export const JOBS = new URL('../../jobs', import.meta.url).pathname;

/** An end in good order may take long on a busy machine; what needs longer than this hangs, and is killed. */
const SLOW_END_MS = 30_000;

export interface Ended {
  /** Undefined when a signal ended it. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface KithProcess {
  readonly pid: number;
  /** What it has printed so far. */
  readonly output: { readonly stdout: string; readonly stderr: string };
  readonly ended: Promise<Ended>;
  /** Its first line on stdout as JSON; rejects with its stderr when it ends without one. */
  readonly ready: Promise<Record<string, unknown>>;
  signal(name: NodeJS.Signals): void;
  /** Ctrl-C or SIGTERM, then waits for its end. */
  stop(name?: NodeJS.Signals): Promise<Ended>;
}

export interface ProcessOptions {
  /** On top of the environment of the world; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** False: as an installed kith, without the set-up of a checkout, which looks for all programs first. */
  readonly setUp?: boolean;
}

export interface World extends AsyncDisposable {
  readonly folder: string;
  /** `$XDG_RUNTIME_DIR/kith`. */
  readonly runtime: string;
  readonly invitation: string;
  /** Starts `kith <args>`; it ends with the world at the latest. */
  start(args: readonly string[], options?: ProcessOptions): KithProcess;
  /** Runs `kith <args>` to its end. */
  run(args: readonly string[], options?: ProcessOptions): Promise<Ended>;
  /** `kith host`, ready, its invitation in `invitation`. */
  host(...args: readonly string[]): Promise<KithProcess>;
  /** `kith worker --name <name>`, ready. */
  worker(name: string, ...args: readonly string[]): Promise<KithProcess>;
  /** Words that bring a peer of that name into the room of `host()`. */
  as(name: string): string[];
  /** What of this world is still there: processes with their command line, files and sockets. */
  readonly leftovers: () => string[];
}

/** Everything is in one short folder (socket paths: at most 107 bytes, unix(7)), except the images of the user's cache. */
export async function openWorld(): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'kw-'));
  const [runtime, temporary] = [join(folder, 'r'), join(folder, 't')];
  for (const path of [runtime, temporary]) mkdirSync(path, { mode: 0o700 });
  const base = {
    XDG_RUNTIME_DIR: runtime,
    XDG_STATE_HOME: join(folder, 'state'),
    XDG_CONFIG_HOME: join(folder, 'config'),
    // So that a forgotten temporary file shows up in leftovers().
    TMPDIR: temporary,
    KITH_LOG: 'info',
  };
  const running = new Set<KithProcess>();
  const invitation = join(folder, 'invitation');

  const start: World['start'] = (args, options = {}) => {
    const env = definedOnly({ ...process.env, ...base, ...options.env });
    const child = startChild(process.execPath, [options.setUp === false ? MAIN : KITH, ...args], {
      env,
      extendEnv: false,
      killAfterMs: SLOW_END_MS,
    });
    const started = follow(child, args);
    running.add(started);
    void started.ended.then(() => running.delete(started));
    return started;
  };
  const readyOne = async (args: readonly string[]) => {
    const started = start(args);
    await started.ready;
    return started;
  };
  const as = (name: string) => ['--name', name, '--invitation', invitation, '--wire-address', '127.0.0.1'];
  const leftovers = () => [...processesOf(folder), ...filesIn(join(runtime, 'kith')), ...filesIn(temporary)];
  return {
    folder,
    runtime: join(runtime, 'kith'),
    invitation,
    start,
    run: (args, options) => start(args, options).ended,
    host: (...args) => readyOne(['host', '--json', '--invitation-file', invitation, ...args]),
    worker: (name, ...args) => readyOne(['worker', '--json', ...as(name), ...args]),
    as,
    leftovers,
    async [Symbol.asyncDispose]() {
      await Promise.all([...running].map((each) => each.stop()));
      const left = await untilEmpty(leftovers);
      for (const pid of pidsOf(folder)) killIfThere(pid);
      await rm(folder, { recursive: true, force: true });
      if (left.length > 0) throw new Error(`left after all kith processes have ended:\n${left.join('\n')}`);
    },
  };
}

function follow(child: Child, args: readonly string[]): KithProcess {
  const output = { stdout: '', stderr: '' };
  const { pid, stdout, stderr } = child;
  if (!pid || !stdout || !stderr) throw new Error(`kith ${args.join(' ')} did not start`);
  stdout.on('data', (data: Buffer) => (output.stdout += data.toString()));
  stderr.on('data', (data: Buffer) => (output.stderr += data.toString()));
  const ended = child.then(({ exitCode }): Ended => ({ code: exitCode, ...output }));
  const first = new Promise<string | undefined>((resolve) => {
    createInterface({ input: stdout })
      .once('line', resolve)
      .once('close', () => resolve(undefined));
  });
  const ready = first.then(async (line) => {
    if (line !== undefined) return JSON.parse(line) as Record<string, unknown>;
    const { code } = await ended;
    throw new Error(`kith ${args.join(' ')} ended with ${String(code)} and no line:\n${output.stderr}`);
  });
  ready.catch(() => {}); // not everybody waits for it
  const signal = (name: NodeJS.Signals) => void child.kill(name);
  return {
    pid,
    output,
    ended,
    ready,
    signal,
    stop(name = 'SIGTERM') {
      signal(name);
      return ended;
    },
  };
}

/** Processes that carry the folder in their environment or command line, the test itself excepted. */
function pidsOf(folder: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid)
    .filter((pid) => ['environ', 'cmdline'].some((file) => procText(pid, file).includes(folder)));
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It went by itself just now.
  }
}

/** As `<pid> <command line>`. */
export const processesOf = (folder: string): string[] =>
  pidsOf(folder).map((pid) => `${pid} ${procText(pid, 'cmdline').replaceAll('\0', ' ')}`);

/** Empty for a process that has just gone, and for a zombie. */
function procText(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

/** The kernel and the watchers of run directories finish a moment after a death: a condition with a bound. */
export const untilEmpty = async (look: () => readonly string[], deadlineMs = 15_000): Promise<readonly string[]> => {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const left = look();
    if (left.length === 0 || performance.now() > deadline) return left;
    await sleep(50);
  }
};

/** Asks again until the answer is there; the last error or answer is in the message when it never comes. */
export async function poll<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  deadlineMs: number,
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    let why = 'no';
    try {
      const answer = await look();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() > deadline) throw new Error(`${what}: not within ${deadlineMs / 1000} s (${why})`);
    await sleep(100);
  }
}

/** The last line that a command printed, as JSON. */
export function lastJson({ stdout, stderr }: Ended): Record<string, unknown> {
  const line = stdout.trimEnd().split('\n').at(-1) ?? '';
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    throw new Error(`no JSON in the last line of: ${stdout}\n${stderr}`);
  }
}

function definedOnly(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined));
}
