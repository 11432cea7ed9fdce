/** How much memory a process has resident now, how many threads, and a watch over both. */
import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { runCommand } from '../base/process.ts';

/** MiB, or undefined when the process is gone. Counts shared pages, such as QEMU's own code, in full. */
export async function residentMiB(pid: number): Promise<number | undefined> {
  return (await usage(pid))?.residentMiB;
}

interface Usage {
  readonly residentMiB: number;
  /** Zero where the system does not tell. */
  readonly threads: number;
}

export interface WatchOptions {
  readonly pid: number;
  readonly residentMiB: number;
  readonly threads: number;
  readonly clock: Clock;
  /** Once, with the reason. */
  readonly onExcess: (reason: string) => void;
}

/** One small file to read on Linux, 0.05 ms (measured); elsewhere a program to run, so seldom. */
const LOOK_MS = process.platform === 'linux' ? 1000 : 10_000;

/** For hosts where no cgroup does it, and for root, whom no limit on processes binds. Returns the end of watching. */
export function watchUsage({ pid, residentMiB, threads, clock, onExcess }: WatchOptions): () => void {
  let watching = true;
  const look = async (): Promise<void> => {
    const now = await usage(pid);
    if (!watching || now === undefined || (now.residentMiB <= residentMiB && now.threads <= threads)) return;
    stop();
    onExcess(
      now.threads > threads
        ? `ended for its ${now.threads} threads, more than the ${threads} that it may have`
        : `ended for its ${Math.round(now.residentMiB)} MiB of memory, more than the ${residentMiB} that it may have`,
    );
  };
  const cancel = clock.every(LOOK_MS, () => void look());
  const stop = (): void => {
    watching = false;
    cancel();
  };
  return stop;
}

async function usage(pid: number): Promise<Usage | undefined> {
  if (process.platform === 'linux') {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    return fromKiB(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1], /^Threads:\s+(\d+)/m.exec(status)?.[1]);
  }
  const { stdout } = await runCommand('ps', ['-o', 'rss=', '-p', String(pid)], { timeoutMs: 5000 });
  return fromKiB(stdout.trim());
}

function fromKiB(text: string | undefined, threads = '0'): Usage | undefined {
  const kib = Number(text);
  return text && Number.isFinite(kib)
    ? { residentMiB: Math.round(kib / 102.4) / 10, threads: Number(threads) }
    : undefined;
}
