/** The local API of a running peer, from the outside: what a command calls is a request over the peer's socket. */
import { connect, type Socket } from 'node:net';
import { describeError, KithError } from '../base/errors.ts';
import { parseJson, parser } from '../base/validate.ts';
import type { CapturePage } from '../protocol/messages.ts';
import type {
  Answered,
  CaptureHandle,
  ExecReply,
  Holds,
  LeaseRequest,
  LinkView,
  LogPage,
  Method,
  PeerApi,
  PeerStatus,
  PolicyView,
  Requests,
} from './api.ts';
import type { HostApi, HostMethod } from './host-api.ts';
import { encodeLine, lineReader } from './lines.ts';

/** Two outputs of 16 MiB in base64 (the cap on a command's output) and the line around them. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** Time for the peer to ask another one through a slow chat server; on top of what a command itself may take. */
const ANSWER_MS = 60_000;

export interface ControlClient extends PeerApi, AsyncDisposable {}
export interface HostClient extends HostApi, AsyncDisposable {}

interface ClientOptions {
  readonly signal?: AbortSignal | undefined;
  readonly answerMs?: number;
}

interface Caller extends AsyncDisposable {
  ask(method: string, params: object, extraMs?: number): Promise<object>;
}

interface Answer {
  /** Null: the peer refuses the connection itself. */
  readonly id: number | null;
  readonly result?: object;
  readonly error?: {
    readonly code: string;
    readonly message: string;
    readonly hint?: string;
    readonly retry?: 'never' | 'later' | 'after-change';
  };
}

// Loose on purpose: a newer peer may say more than we know.
const parseAnswer = parser<Answer>('the answer', 'control.bad-answer', {
  type: 'object',
  required: ['id'],
  properties: {
    id: { type: ['integer', 'null'] },
    result: { type: 'object' },
    error: {
      type: 'object',
      required: ['code', 'message'],
      properties: {
        code: { type: 'string', maxLength: 128 },
        message: { type: 'string', maxLength: 65_536 },
        hint: { type: 'string', maxLength: 65_536 },
        retry: { enum: ['never', 'later', 'after-change'] },
      },
    },
  },
});

interface Pending {
  readonly resolve: (result: object) => void;
  readonly reject: (error: unknown) => void;
}

/** Connects to the socket of a peer. All calls fail when the signal aborts, the peer goes, or it does not answer in time. */
export async function connectControl(path: string, options: ClientOptions = {}): Promise<ControlClient> {
  const caller = await openCaller(path, options);
  const ask = (method: Method, params: object, extraMs = 0) => caller.ask(method, params, extraMs);
  return {
    status: () => ask('status', {}) as Promise<PeerStatus>,
    exec: (params) => ask('exec', params, params.timeoutSeconds * 1000) as Promise<ExecReply>,
    log: (params) => ask('log', params) as Promise<LogPage>,
    type: (params) => ask('type', params) as Promise<Record<string, never>>,
    link: (params) => ask('link', params) as Promise<LinkView>,
    captureOpen: (params) => ask('captureOpen', params) as Promise<CaptureHandle>,
    captureRead: (params) => ask('captureRead', params) as Promise<CapturePage>,
    captureClose: (params) => ask('captureClose', params) as Promise<Record<string, never>>,
    down: () => ask('down', {}) as Promise<Record<string, never>>,
    reconsider: (params) => ask('reconsider', params) as Promise<Record<string, never>>,
    requests: () => ask('requests', {}) as Promise<Requests>,
    answer: (params) => ask('answer', params) as Promise<Answered>,
    explain: (params) => ask('explain', params) as Promise<LeaseRequest>,
    policy: () => ask('policy', {}) as Promise<PolicyView>,
    policyChanged: () => ask('policyChanged', {}) as Promise<PolicyView>,
    hold: (params) => ask('hold', params) as Promise<Holds>,
    [Symbol.asyncDispose]: () => caller[Symbol.asyncDispose](),
  };
}

/** The same for the socket of a host. */
export async function connectHost(path: string, options: ClientOptions = {}): Promise<HostClient> {
  const caller = await openCaller(path, options);
  const ask = <M extends HostMethod>(method: M) =>
    ((params: object = {}) => caller.ask(method, params)) as unknown as HostApi[M];
  return {
    status: ask('status'),
    invite: ask('invite'),
    invitations: ask('invitations'),
    revoke: ask('revoke'),
    ban: ask('ban'),
    unban: ask('unban'),
    reconsider: ask('reconsider'),
    down: ask('down'),
    [Symbol.asyncDispose]: () => caller[Symbol.asyncDispose](),
  };
}

async function openCaller(path: string, options: ClientOptions): Promise<Caller> {
  const { signal, answerMs = ANSWER_MS } = options;
  signal?.throwIfAborted();
  const socket = await open(path);
  const pending = new Map<number, Pending>();
  let lastId = 0;
  let failure: unknown;

  const end = (error: unknown): void => {
    failure ??= error;
    signal?.removeEventListener('abort', onAbort);
    for (const { reject } of pending.values()) reject(failure);
    pending.clear();
    socket.destroy();
  };
  const onAbort = () => end(signal?.reason);
  const take = (line: string): void => {
    if (failure !== undefined) return;
    try {
      const { id, result, error } = parseAnswer(parseJson('the answer', 'control.bad-answer', line, MAX_ANSWER_BYTES));
      if (id === null) throw error ? new KithError(error) : badAnswer('an answer to nothing');
      const call = pending.get(id);
      pending.delete(id);
      if (error) call?.reject(new KithError(error));
      else if (result) call?.resolve(result);
      else call?.reject(badAnswer('an answer without a result'));
    } catch (error) {
      end(error);
    }
  };
  const read = lineReader(MAX_ANSWER_BYTES, take);
  socket.on('data', (chunk: Buffer) => {
    if (!read(chunk)) end(badAnswer(`an answer of more than ${MAX_ANSWER_BYTES} bytes`));
  });
  socket.on('error', () => {}); // 'close' follows
  socket.on('close', () => end(gone(path)));
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();

  const ask = (method: string, params: object, extraMs = 0): Promise<object> =>
    new Promise<object>((resolve, reject) => {
      if (failure !== undefined) {
        reject(failure);
        return;
      }
      const id = ++lastId;
      const timer = setTimeout(() => {
        pending.delete(id);
        reject(mute(method, answerMs + extraMs));
      }, answerMs + extraMs);
      const settle =
        <T>(done: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          done(value);
        };
      pending.set(id, { resolve: settle(resolve), reject: settle(reject) });
      socket.write(encodeLine({ id, method, params }));
    });

  return {
    ask,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => {
        if (socket.closed) resolve();
        else socket.once('close', () => resolve());
      });
      end(new KithError({ code: 'control.closed', message: 'the connection to the peer was closed', retry: 'never' }));
      await closed;
    },
  };
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', (cause) => {
      reject(
        new KithError({
          code: 'control.no-peer',
          message: `no peer answers at ${path}: ${describeError(cause)}`,
          hint: 'start one with kith peer, kith worker or kith run',
          cause,
        }),
      );
    });
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
  });
}

const badAnswer = (what: string) =>
  new KithError({
    code: 'control.bad-answer',
    message: `the peer sent ${what}`,
    hint: 'is it the same version of kith?',
    retry: 'never',
  });

const gone = (path: string) =>
  new KithError({
    code: 'control.peer-gone',
    message: `the peer at ${path} went away`,
    hint: 'kith ps shows which ones run',
  });

const mute = (method: string, ms: number) =>
  new KithError({
    code: 'control.no-answer',
    message: `the peer did not answer ${method} within ${ms / 1000} s`,
    hint: 'try again, or look at its log',
    retry: 'later',
  });
