/** A client of the QEMU machine protocol (QEMU docs/interop/qmp-spec.rst): greeting, commands with deadlines, events. */
import type { Duplex } from 'node:stream';
import { KithError } from '../base/errors.ts';
import { parser } from '../base/validate.ts';
import { createLineReader } from './lines.ts';

export interface QmpEvent {
  readonly event: string;
  readonly data: unknown;
}

export interface Qmp {
  /** The command's return value. Throws `guest.qmp-refused` (QEMU said no), `guest.qmp-timeout` or `guest.qmp-closed`. */
  execute(
    command: string,
    args?: Readonly<Record<string, unknown>>,
    options?: { readonly timeoutMs?: number },
  ): Promise<unknown>;
  /** Why the connection ended. Never rejects. */
  readonly closed: Promise<string>;
  /** Lets go of the connection; QEMU goes on. */
  close(reason: string): void;
}

export interface QmpOptions {
  readonly onEvent?: ((event: QmpEvent) => void) | undefined;
  readonly greetingTimeoutMs?: number;
}

/** The longest answer that we ask for is some kilobytes (query-status and the like). */
const MAX_LINE_BYTES = 1 << 20;
/** QEMU answers within 5 ms (measured) unless the whole host stands still. */
const ANSWER_MS = 10_000;
const MAX_WAITING = 64;

interface Message {
  readonly QMP?: unknown;
  readonly id?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
  readonly data?: unknown;
}

const parseMessage = parser<Message>('answer of QEMU', 'guest.qmp-garbled', {
  type: 'object',
  properties: {
    event: { type: 'string', maxLength: 128 },
    error: {
      type: 'object',
      required: ['class', 'desc'],
      properties: { class: { type: 'string' }, desc: { type: 'string' } },
    },
  },
});

interface Waiting {
  readonly command: string;
  resolve(value: unknown): void;
  reject(error: KithError): void;
}

/** Waits for the greeting and leaves negotiation mode. The stream is the client's from now on. */
export async function openQmp(stream: Duplex, options: QmpOptions = {}): Promise<Qmp> {
  const waiting = new Map<number, Waiting>();
  const greeting = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<string>();
  let next = 1;
  let over: string | undefined;
  greeting.promise.catch(() => {}); // also when nobody waits for it any more

  const close = (reason: string): void => {
    if (over !== undefined) return;
    over = reason;
    const error = closedError(reason);
    greeting.reject(error);
    for (const entry of waiting.values()) entry.reject(error);
    waiting.clear();
    stream.destroy();
    closed.resolve(reason);
  };

  const receive = (line: string): void => {
    let message: Message;
    try {
      message = parseMessage(JSON.parse(line));
    } catch {
      return close('QEMU sent something that is not QMP');
    }
    if (message.QMP !== undefined) return greeting.resolve();
    if (message.event !== undefined) return options.onEvent?.({ event: message.event, data: message.data });
    const entry = typeof message.id === 'number' ? waiting.get(message.id) : undefined;
    if (!entry) return; // the late answer to a command whose deadline has passed
    waiting.delete(message.id as number);
    if (!message.error) return entry.resolve(message.return);
    const desc = message.error.desc.slice(0, 300);
    entry.reject(new KithError({ code: 'guest.qmp-refused', message: `QEMU refused ${entry.command}: ${desc}` }));
  };

  const lines = createLineReader(MAX_LINE_BYTES, receive);
  stream.on('data', (chunk: Buffer) => {
    if (!lines.push(chunk)) close(`QEMU sent a line of more than ${MAX_LINE_BYTES} bytes`);
  });
  stream.on('error', (error) => close(`QMP connection broke: ${error.message}`));
  for (const event of ['end', 'close']) stream.on(event, () => close('QEMU closed its QMP connection'));

  const execute: Qmp['execute'] = async (command, args, { timeoutMs = ANSWER_MS } = {}) => {
    if (over !== undefined) throw closedError(over);
    if (waiting.size >= MAX_WAITING)
      throw new KithError({ code: 'guest.qmp-timeout', message: 'QEMU answers nothing any more' });
    const id = next++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    waiting.set(id, { command, resolve, reject });
    stream.write(`${JSON.stringify({ execute: command, ...(args ? { arguments: args } : {}), id })}\n`);
    return within(promise, timeoutMs, () => {
      waiting.delete(id);
      return new KithError({
        code: 'guest.qmp-timeout',
        message: `QEMU did not answer ${command} within ${timeoutMs} ms`,
        retry: 'later',
      });
    });
  };

  try {
    const timeoutMs = options.greetingTimeoutMs ?? ANSWER_MS;
    await within(
      greeting.promise,
      timeoutMs,
      () => new KithError({ code: 'guest.qmp-timeout', message: `QEMU said nothing for ${timeoutMs} ms` }),
    );
    await execute('qmp_capabilities');
  } catch (error) {
    close('QMP could not be set up');
    throw error;
  }
  return { execute, close, closed: closed.promise };
}

const closedError = (reason: string): KithError => new KithError({ code: 'guest.qmp-closed', message: reason });

async function within<T>(work: Promise<T>, ms: number, late: () => KithError): Promise<T> {
  const deadline = Promise.withResolvers<never>();
  const timer = setTimeout(() => deadline.reject(late()), ms);
  try {
    return await Promise.race([work, deadline.promise]);
  } finally {
    clearTimeout(timer);
  }
}
