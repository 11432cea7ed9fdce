/** One question and one answer at a time on the guest agent's port, brought back into step whenever an answer went missing. */
import type { Duplex } from 'node:stream';
import { KithError } from '../base/errors.ts';
import { parseAnswer, type AgentAnswer } from './agent-schema.ts';
import { createLineReader } from './lines.ts';

export interface CallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface AgentChannel {
  /** Until the agent answers a synchronisation, however long that takes. */
  sync(signal?: AbortSignal): Promise<void>;
  call(command: string, args: Readonly<Record<string, unknown>> | undefined, options: CallOptions): Promise<unknown>;
  close(): void;
}

/** The agent keeps 16 MiB of each output stream and sends both as base64 in one line. */
const MAX_ANSWER_BYTES = 44 << 20;
/** Resets a confused stream, in both directions (guest-sync-delimited). */
const MARKER = 0xff;
/** A question that an agent never read (its port was not open yet) is asked again this often. */
const ASK_AGAIN_MS = 10_000;
/** Callers that wait for their turn. */
const MAX_QUEUE = 256;

export function openAgentChannel(stream: Duplex): AgentChannel {
  let expect: ((answer: AgentAnswer) => void) | undefined;
  let fail: ((error: KithError) => void) | undefined;
  let inStep = false;
  let over = false;
  let next = 1;
  let queued = 0;
  let turn: Promise<unknown> = Promise.resolve();

  const lines = createLineReader(
    MAX_ANSWER_BYTES,
    (line) => {
      let answer: AgentAnswer;
      try {
        answer = parseAnswer(JSON.parse(line));
      } catch {
        return; // noise: the answer comes later, or the deadline does
      }
      expect?.(answer);
    },
    MARKER,
  );
  stream.on('data', (chunk: Buffer) => {
    if (!lines.push(chunk))
      fail?.(agentError('garbled', `the guest agent's answer is longer than ${MAX_ANSWER_BYTES} bytes`));
  });
  // A guest may write to its port whenever it likes. Nobody reads it unless an answer is due, so a flood stops at the kernel.
  stream.pause();
  const end = (): void => {
    over = true;
    fail?.(agentError('closed', 'the guest is gone'));
  };
  stream.on('error', () => {}); // 'close' follows
  for (const event of ['end', 'close']) stream.on(event, end);

  /** Asks, and takes the first answer that fits. */
  async function ask(
    text: string | Buffer,
    fits: (answer: AgentAnswer) => boolean,
    what: string,
    options: CallOptions,
  ): Promise<AgentAnswer> {
    if (over) throw agentError('closed', 'the guest is gone');
    options.signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<AgentAnswer>();
    const timer = setTimeout(
      () => reject(agentError('timeout', `the guest agent did not answer ${what} within ${options.timeoutMs} ms`)),
      options.timeoutMs,
    );
    const abort = (): void => reject(options.signal?.reason as Error);
    options.signal?.addEventListener('abort', abort, { once: true });
    expect = (answer) => {
      if (fits(answer)) resolve(answer);
    };
    fail = reject;
    try {
      stream.write(text);
      stream.resume();
      return await promise;
    } finally {
      stream.pause();
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
      expect = undefined;
      fail = undefined;
    }
  }

  async function synchronise(options: CallOptions): Promise<void> {
    const id = next++;
    const question = JSON.stringify({ execute: 'guest-sync-delimited', arguments: { id } });
    lines.clear();
    await ask(
      Buffer.concat([Buffer.from([MARKER]), Buffer.from(`${question}\n`)]),
      (answer) => answer.return === id,
      'a synchronisation',
      options,
    );
    inStep = true;
  }

  async function callNow(
    command: string,
    args: Readonly<Record<string, unknown>> | undefined,
    options: CallOptions,
  ): Promise<unknown> {
    const started = performance.now();
    if (!inStep) await synchronise(options);
    const id = next++;
    // Until the answer is there, the next one to ask must synchronise first.
    inStep = false;
    const text = JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}), id });
    const timeoutMs = Math.max(1, options.timeoutMs - (performance.now() - started));
    // Agents before QEMU 4.0 do not repeat the id.
    const answer = await ask(`${text}\n`, (candidate) => candidate.id === undefined || candidate.id === id, command, {
      ...options,
      timeoutMs,
    });
    inStep = true;
    if (!answer.error) return answer.return;
    throw agentError('refused', `the guest agent refused ${command}: ${answer.error.desc.slice(0, 300)}`);
  }

  /** In the order of asking. A failed turn does not stop the next. */
  function inTurn<T>(task: () => Promise<T>): Promise<T> {
    if (queued >= MAX_QUEUE) return Promise.reject(agentError('busy', 'too many commands wait for the guest agent'));
    queued++;
    const result = turn.then(task).finally(() => queued--);
    turn = result.catch(() => {});
    return result;
  }

  return {
    sync: (signal) =>
      inTurn(async () => {
        while (!inStep) {
          await synchronise({ timeoutMs: ASK_AGAIN_MS, ...(signal ? { signal } : {}) }).catch((error: unknown) => {
            if (!(error instanceof KithError) || error.code !== 'guest.agent-timeout') throw error;
          });
        }
      }),
    call: (command, args, options) => inTurn(() => callNow(command, args, options)),
    close() {
      end();
      stream.destroy();
    },
  };
}

const agentError = (cause: 'garbled' | 'timeout' | 'closed' | 'refused' | 'busy', message: string): KithError =>
  new KithError({ code: `guest.agent-${cause}`, message, retry: 'later' });
