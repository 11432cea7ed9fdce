/** Waits until a launched guest is up, and says why when it never will be. */
import { KithError } from '../base/errors.ts';
import type { Launched } from './launch.ts';

export interface ReadyOptions {
  readonly name: string;
  readonly readyMs: number;
  readonly memoryMiB: number;
  readonly signal?: AbortSignal | undefined;
}

/** Said by a kernel that cannot even unpack its initramfs (measured with 96 MiB), or that kills init for memory. */
const MEMORY_PANIC =
  /System is deadlocked on memory|Out of memory and no killable|Initramfs unpacking failed: write error/;
/** `kith: ready` is printed by our own images; the rest by any Linux that asks for a login. */
const CONSOLE_READY = /kith: ready|login: $/m;
const LAST_LINES = 8;

export async function awaitReady(guest: Launched, options: ReadyOptions): Promise<void> {
  const { name, readyMs, memoryMiB, signal } = options;
  const outcome = Promise.withResolvers<void>();
  const stop = new AbortController();
  const unwatch = guest.serial.watch((text) => {
    const panic = MEMORY_PANIC.exec(text);
    if (panic) outcome.reject(noMemory(name, memoryMiB, panic[0]));
    else if (guest.hasAgent || !CONSOLE_READY.test(text)) return false;
    else outcome.resolve();
    return true;
  });
  const timer = setTimeout(() => outcome.reject(tooLate(guest, name, readyMs)), readyMs);
  const abort = (): void => outcome.reject(signal?.reason as Error);
  signal?.addEventListener('abort', abort, { once: true });
  void guest.exited.then((reason) => outcome.reject(ended(guest, name, memoryMiB, reason)));
  if (guest.hasAgent) guest.agent.ready(stop.signal).then(outcome.resolve, () => {}); // it fails only when QEMU ends, which is seen above
  try {
    signal?.throwIfAborted();
    await outcome.promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    unwatch();
    stop.abort();
  }
}

/** Printable, so that a guest cannot paint the terminal of whoever reads the error. */
function lastLines(guest: Launched): string {
  const { total } = guest.serial.read(0, 0);
  const text = guest.serial.read(Math.max(0, total - 2000), 2000).data.toString('latin1');
  const lines = text
    .replace(/[^\n -~]/g, '')
    .split('\n')
    .filter(Boolean);
  return lines.length === 0
    ? 'its console stayed silent'
    : `its console ended with: ${lines.slice(-LAST_LINES).join(' | ')}`;
}

function tooLate(guest: Launched, name: string, ms: number): KithError {
  return new KithError({
    code: 'guest.boot-timeout',
    message: `guest ${name} was not up after ${ms / 1000} s; ${lastLines(guest)}`,
    hint: 'the host may be too busy, or the image does not boot: look at its whole log with kith logs',
    retry: 'later',
  });
}

function ended(guest: Launched, name: string, memoryMiB: number, reason: string): KithError {
  const panic = MEMORY_PANIC.exec(guest.serial.read(0, Number.MAX_SAFE_INTEGER).data.toString('latin1'));
  if (panic) return noMemory(name, memoryMiB, panic[0]);
  const stderr = guest.stderr().trim();
  if (/cannot allocate memory|Cannot allocate memory/.test(stderr))
    return noMemory(name, memoryMiB, `the host has not enough (${stderr.slice(-300)})`);
  return new KithError({
    code: 'guest.qemu-exited',
    message: `QEMU for guest ${name} ended while it booted (${reason}): ${stderr.slice(-1000) || lastLines(guest)}`,
    hint: 'run with more logging to see its arguments',
    retry: 'later',
  });
}

export const noMemory = (name: string, memoryMiB: number, why: string): KithError =>
  new KithError({
    code: 'guest.not-enough-memory',
    message: `cannot boot guest ${name} with ${memoryMiB} MiB: ${why}`,
    hint: 'give it more memory',
  });
