/** What this process holds: child processes and open handles, to be the same before and after. */
import { readdirSync, readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';

export interface Holdings {
  readonly children: readonly number[];
  /** How many of each kind of process, pipe and socket. */
  readonly handles: Readonly<Record<string, number>>;
}

const KINDS = [
  'ProcessWrap',
  'PipeWrap',
  'PipeServerWrap',
  'PipeConnectWrap',
  'TCPSocketWrap',
  'TCPServerWrap',
  'UDPWrap',
];

export function holdings(): Holdings {
  const open = process.getActiveResourcesInfo();
  return {
    children: childrenOf(process.pid),
    handles: Object.fromEntries(KINDS.map((kind) => [kind, open.filter((name) => name === kind).length])),
  };
}

/** Resolves when nothing is held that was not held before; a leak ends in the test's own timeout, which names this function. */
export async function untilHolding(before: Holdings): Promise<void> {
  for (;;) {
    const now = holdings();
    const more = KINDS.some((kind) => (now.handles[kind] ?? 0) > (before.handles[kind] ?? 0));
    if (!more && now.children.every((pid) => before.children.includes(pid))) return;
    await setImmediate();
  }
}

/** Direct children, zombies included (proc(5), children). */
function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) => {
    try {
      return readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
    } catch {
      return []; // the thread ended meanwhile
    }
  });
}
