/** QEMU as a process in its box: started, watched, held to its share of the processors, and ended whatever state it is in. */
import { constants } from 'node:os';
import type { RunDirectory } from '../base/guard.ts';
import { systemClock } from '../base/clock.ts';
import { KithError } from '../base/errors.ts';
import { findProgram, runCommand, startChild, type Child } from '../base/process.ts';
import type { Confined } from './confine.ts';
import type { Qmp } from './qmp.ts';
import { watchUsage } from './resident.ts';
import { createThrottle } from './throttle.ts';

export interface QemuProcess extends AsyncDisposable {
  /** Of QEMU itself, not of what holds it. */
  readonly pid: number;
  /** Why it ended. Never rejects. */
  readonly exited: Promise<string>;
  /** Percent of the time of its own processors; undefined: no limit. */
  limitCpu(percent: number | undefined): Promise<void>;
  /** Runs the work without the limit, so that it is answered at once. */
  unthrottled<T>(work: () => Promise<T>): Promise<T>;
  /** From now on its end begins with this. */
  quitBy(qmp: Qmp): void;
}

export interface QemuOptions {
  readonly qemu: string;
  readonly confined: Confined;
  readonly run: RunDirectory;
  readonly cpus: number;
  /** From the start; a cgroup has it already. */
  readonly cpuPercent?: number | undefined;
  readonly residentMiB: number;
  readonly threads: number;
  /** Its cgroup, where it has one. */
  readonly unit?: string | undefined;
}

/** What has been started, and is QEMU as soon as `started` resolves. */
export interface Starting extends AsyncDisposable {
  readonly exited: Promise<string>;
  /** The end of what it said on its standard error. */
  stderr(): string;
  readonly started: Promise<QemuProcess>;
}

/** QEMU ends 20 ms after `quit` (measured), unless its main loop hangs. */
const QUIT_MS = 3000;
const SYSTEMCTL_MS = 5000;
const STDERR_CHARACTERS = 4000;
/** bubblewrap's report is 200 characters. */
const REPORT_CHARACTERS = 4000;
/** A shell's, and bubblewrap's, way to say that a signal ended it. */
const BY_SIGNAL = 128;

/** False: gone, and we shall hear of it. */
function attempt(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

export function startQemu(options: QemuOptions): Starting {
  const { confined, run, unit } = options;
  const child = startChild(confined.program, confined.args, {
    stdout: confined.reports ? 'pipe' : 'ignore',
    stderr: 'pipe',
    env: confined.env,
    extendEnv: false,
    killAfterMs: QUIT_MS,
  });
  const stderr = collectStderr(child);
  const pids = new Set<number>();
  let stopping = false;
  let over = false;
  let excess: string | undefined;
  let qmp: Qmp | undefined;
  let unwatch = (): void => {};

  const adopt = (pid: number): void => {
    if (over) return;
    pids.add(pid);
    run.adopt(pid);
  };
  const send = (signal: NodeJS.Signals): boolean => {
    if (over) return false;
    // The newest is QEMU; with it ends all that is in its box, and then bubblewrap.
    const pid = [...pids].at(-1);
    // Ended while it starts, bubblewrap leaves a child that waits for ever, in the group that startChild made.
    if (signal === 'SIGKILL' && child.pid !== undefined) attempt(-child.pid, signal);
    return pid !== undefined && attempt(pid, signal);
  };
  const throttle = createThrottle({ send, clock: systemClock });
  let share = unit === undefined ? options.cpuPercent : undefined;
  const exited = child.then((result) => {
    over = true;
    unwatch();
    throttle.limit(undefined);
    for (const pid of pids) run.release(pid); // their numbers may become somebody else's
    return stopping ? 'stopped' : (excess ?? describeEnd(result));
  });
  if (child.pid !== undefined) adopt(child.pid);

  const end = async (): Promise<void> => {
    stopping = true;
    throttle.limit(undefined); // nobody answers who is stopped
    const timer = setTimeout(() => send('SIGKILL') || child.kill('SIGKILL'), qmp ? QUIT_MS : 0);
    try {
      await qmp?.execute('quit', undefined, { timeoutMs: QUIT_MS });
    } catch {
      // Gone already, or hanging: the timer has the last word.
    }
    await exited;
    clearTimeout(timer);
  };

  const started = (async (): Promise<QemuProcess> => {
    if (child.pid === undefined) throw notFound(options.qemu);
    const pid = confined.reports ? await reportedPid(child) : child.pid;
    adopt(pid);
    throttle.limit(share);
    unwatch = watchUsage({
      pid,
      residentMiB: options.residentMiB,
      threads: options.threads,
      clock: systemClock,
      onExcess: (reason) => {
        excess = reason;
        send('SIGKILL');
      },
    });
    return {
      pid,
      exited,
      limitCpu: async (percent) => {
        if (unit && (await setQuota(unit, options.cpus, percent))) return;
        share = percent;
        throttle.limit(share);
      },
      async unthrottled(work) {
        throttle.limit(undefined);
        try {
          return await work();
        } finally {
          throttle.limit(share);
        }
      },
      quitBy: (connection) => {
        qmp = connection;
      },
      [Symbol.asyncDispose]: end,
    };
  })();
  started.catch(() => {}); // whoever waits for it sees it; nobody need
  return { exited, stderr, started, [Symbol.asyncDispose]: end };
}

function collectStderr(child: Child): () => string {
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString('utf8')).slice(-STDERR_CHARACTERS);
  });
  return () => text;
}

/** Never resolves when the box could not be made: then its end is the news. */
function reportedPid(child: Child): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString('latin1')).slice(0, REPORT_CHARACTERS);
    const [, pid] = /"child-pid": (\d+)\b\D/.exec(text) ?? [];
    if (pid) resolve(Number(pid));
  });
  return promise;
}

function describeEnd({ signal, exitCode }: Awaited<Child>): string {
  const passedOn = Object.entries(constants.signals).find(([, number]) => BY_SIGNAL + number === exitCode)?.[0];
  const name = signal ?? passedOn;
  return name ? `signal ${name}` : `exit code ${exitCode ?? 'unknown'}`;
}

async function setQuota(unit: string, cpus: number, percent: number | undefined): Promise<boolean> {
  const systemctl = findProgram('systemctl');
  if (!systemctl) return false;
  const user = process.getuid?.() === 0 ? [] : ['--user'];
  const quota = `CPUQuota=${cpus * (percent ?? 100)}%`;
  const args = [...user, 'set-property', '--runtime', `${unit}.scope`, quota];
  return (await runCommand(systemctl, args, { timeoutMs: SYSTEMCTL_MS })).exitCode === 0;
}

const notFound = (qemu: string): KithError =>
  new KithError({ code: 'guest.qemu-missing', message: `cannot start ${qemu}`, hint: 'check that it is installed' });
