/** Who owns what lies in a shared folder: a process, named so that a later process with the same id is not taken for it. */
import { readFileSync } from 'node:fs';

/** Process ids are used again, so the start time belongs to the name (proc_pid_stat(5), field 22; `-` where there is no /proc). */
export function ownerOf(pid: number): string {
  return `${pid} ${startTime(pid)}`;
}

export function isOwnerAlive(owner: string): boolean {
  const [, digits, started] = /^([1-9]\d{0,9}) (\d+|-)$/.exec(owner.trim()) ?? [];
  if (digits === undefined) return false;
  const pid = Number(digits);
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, as somebody else.
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
  }
  return startTime(pid) === started;
}

function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name and may hold anything, also blanks and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie is as dead as can be; where nobody reaps (a container without an init) it stays for ever.
    return fields[0] === 'Z' || fields[0] === 'X' ? 'dead' : (fields[19] ?? '-');
  } catch {
    return '-';
  }
}
