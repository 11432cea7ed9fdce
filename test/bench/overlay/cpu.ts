/**
 * Processor time of processes. `utime + stime` of /proc/<pid>/stat (proc(5)), all threads, and of the children that have ended.
 * What the kernel does for a process in soft interrupts is nearly all in there: it is done at the end of the system call that
 * caused it, by the same thread. What is put off to the ksoftirqd threads belongs to nobody, and is counted apart.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ: 100 on every Linux of today (sysconf(_SC_CLK_TCK)). */
const TICKS_PER_SECOND = 100;

/** The four times of one line of /proc/<pid>/stat, in seconds. Its second field is a name that may hold spaces and parentheses. */
export function parseStat(line: string): number {
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return ticks / TICKS_PER_SECOND;
}

export const cpuSeconds = (pids: readonly number[]): number => pids.reduce((sum, pid) => sum + secondsOf(pid), 0);

function secondsOf(pid: number): number {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return 0; // it has ended
  }
}

/** The kernel's threads for soft interrupts that nobody had time for. */
export function softirqThreads(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('ksoftirqd/');
      } catch {
        return false;
      }
    });
}
