/** Commands in a guest through the QEMU guest agent (QEMU docs/interop/qemu-ga-ref). The guest may answer anything, or nothing. */
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { KithError } from '../base/errors.ts';
import { openAgentChannel, type AgentChannel } from './agent-channel.ts';
import { parseExec, parseStatus, type ExecStatus } from './agent-schema.ts';

export interface ExecOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly stdin?: Uint8Array | undefined;
}

export interface ExecResult {
  /** As a shell gives it: 127 when there is no such program, 128 + n after signal n. */
  readonly exitCode: number;
  readonly signal: number | undefined;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** The agent keeps 16 MiB of each stream; the rest is gone. */
  readonly truncated: boolean;
}

export interface Agent {
  /** Resolves when the agent answers for the first time; waits for ever, so give it a signal. */
  ready(signal?: AbortSignal): Promise<void>;
  ping(options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<void>;
  /** Runs a program and waits for its end. Throws `guest.exec-timeout` after killing it, or `guest.agent-*`. */
  exec(command: readonly string[], options: ExecOptions): Promise<ExecResult>;
  close(): void;
}

/** First look after this long, then less and less often: each look costs the guest milliseconds of its own time. */
const FIRST_POLL_MS = 20;
const LAST_POLL_MS = 400;
const GROWTH = 1.4;
/** How long a killed program may take to be reported as ended. */
const REAP_MS = 10_000;
/** A guest under load on a busy host; the answer itself takes 20 to 600 ms (measured). */
const ANSWER_MS = 30_000;
/** virtio-serial carries it as one line of base64. */
const MAX_STDIN_BYTES = 4 << 20;

export function openAgent(stream: Duplex): Agent {
  const channel = openAgentChannel(stream);
  const call = (
    command: string,
    args: Readonly<Record<string, unknown>> | undefined,
    signal?: AbortSignal,
    timeoutMs = ANSWER_MS,
  ) => channel.call(command, args, { timeoutMs, ...(signal ? { signal } : {}) });

  return {
    ready: (signal) => channel.sync(signal),
    async ping({ timeoutMs, signal } = {}) {
      await call('guest-ping', undefined, signal, timeoutMs);
    },
    exec: (command, options) => runInGuest(channel, command, options),
    close: () => channel.close(),
  };
}

async function runInGuest(
  channel: AgentChannel,
  command: readonly string[],
  options: ExecOptions,
): Promise<ExecResult> {
  const { timeoutMs, signal, stdin } = options;
  if (command.length === 0)
    throw new KithError({ code: 'guest.exec-empty', message: 'there is no command to run', retry: 'never' });
  if ((stdin?.length ?? 0) > MAX_STDIN_BYTES) {
    throw new KithError({
      code: 'guest.exec-input-too-large',
      message: `input of ${stdin?.length} bytes is more than ${MAX_STDIN_BYTES}`,
    });
  }
  const started = performance.now();
  const left = (): number => Math.max(1, timeoutMs - (performance.now() - started));
  signal?.throwIfAborted();
  const spawned = spawnInGuest(channel, command, stdin, Math.min(ANSWER_MS, left()));
  const pid = await abandonable(spawned, signal, (late) => killInGuest(channel, late));
  for (let wait = FIRST_POLL_MS; ; wait = Math.min(wait * GROWTH, LAST_POLL_MS)) {
    if (signal?.aborted || performance.now() - started >= timeoutMs) {
      await killInGuest(channel, pid);
      signal?.throwIfAborted();
      throw timedOut(command, timeoutMs);
    }
    await sleep(Math.min(wait, left()), undefined, signal ? { signal } : {}).catch(() => {});
    if (signal?.aborted) continue;
    const status = await readStatus(channel, pid, ANSWER_MS);
    if (status.exited) return asResult(status);
  }
}

/** Stops waiting when asked to; what is started after that is ended at once. */
async function abandonable<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  undo: (late: T) => Promise<void>,
): Promise<T> {
  if (!signal) return work;
  const stop = Promise.withResolvers<never>();
  const abort = (): void => stop.reject(signal.reason as Error);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work, stop.promise]);
  } catch (error) {
    if (signal.aborted) work.then(undo).catch(() => {});
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** `setsid` gives the program a process group of its own, so that a time-out can end all of it, and turns "not found" into 127. */
async function spawnInGuest(
  channel: AgentChannel,
  command: readonly string[],
  stdin: Uint8Array | undefined,
  timeoutMs: number,
): Promise<number> {
  const input = stdin && stdin.length > 0 ? { 'input-data': Buffer.from(stdin).toString('base64') } : {};
  const args = { path: 'setsid', arg: command, 'capture-output': true, ...input };
  return parseExec(await channel.call('guest-exec', args, { timeoutMs })).pid;
}

async function readStatus(channel: AgentChannel, pid: number, timeoutMs: number): Promise<ExecStatus> {
  return parseStatus(await channel.call('guest-exec-status', { pid }, { timeoutMs }));
}

/** Best effort: the guest may be the reason why the time was up. */
async function killInGuest(channel: AgentChannel, pid: number): Promise<void> {
  const started = performance.now();
  try {
    await channel.call(
      'guest-exec',
      { path: 'sh', arg: ['-c', `kill -9 -${pid} || kill -9 ${pid}`] },
      { timeoutMs: REAP_MS },
    );
    while (performance.now() - started < REAP_MS) {
      if ((await readStatus(channel, pid, REAP_MS)).exited) return;
      await sleep(LAST_POLL_MS / 4);
    }
  } catch {
    // The time-out is what the caller hears of.
  }
}

const timedOut = (command: readonly string[], timeoutMs: number): KithError =>
  new KithError({
    code: 'guest.exec-timeout',
    message: `${command.join(' ').slice(0, 80)} did not end within ${timeoutMs / 1000} s and was killed`,
    hint: 'give it more time, or start it in the background with its output in a file',
    retry: 'later',
  });

function asResult(status: ExecStatus): ExecResult {
  return {
    exitCode: status.exitcode ?? (status.signal === undefined ? -1 : 128 + status.signal),
    signal: status.signal,
    stdout: Buffer.from(status['out-data'] ?? '', 'base64'),
    stderr: Buffer.from(status['err-data'] ?? '', 'base64'),
    truncated: status['out-truncated'] === true || status['err-truncated'] === true,
  };
}
