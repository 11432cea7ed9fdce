/** One XMPP stream to one server: elements in the order in which they came, read one by one while negotiating, then consumed. */
import { client } from '@xmpp/client';
import type { EventEmitter } from 'node:events';
import { KithError } from '../base/errors.ts';
import { PinnedSocket, type TransportOptions } from './tls-socket.ts';
import { STREAM_NS, type Element } from './xml.ts';

export interface StreamOptions extends TransportOptions {
  readonly host: string;
  readonly port: number;
  /** Ends the stream, at any time. */
  readonly signal: AbortSignal;
}

export interface Stream {
  /** The next element; rejects when the stream is over. */
  read(): Promise<Element>;
  /** From now on each element goes to the handler, those that already came first. The handler must not throw. */
  consume(handler: (element: Element) => void): void;
  write(text: string): void;
  /** Opens the stream anew after authentication (RFC 6120 6.4.6). */
  restart(): Promise<void>;
  /** Bytes that wait in the socket. */
  readonly backlog: number;
  /** `clock`-free liveness: grows with each chunk that arrives. */
  readonly receivedBytes: number;
  /** Says goodbye and waits a moment for the other side's. */
  close(): Promise<void>;
  destroy(reason: Error): void;
  /** Resolves with the reason when it is over. Never rejects. */
  readonly closed: Promise<Error>;
}

/** What we use of @xmpp/client 0.14: stream framing and the parser. Some of it is semi-private, so the version is pinned. */
interface RawClient extends EventEmitter {
  transports: Transport[];
  timeout: number;
  readonly reconnect: { stop(): void };
  _onElement(element: Element): void;
  connect(service: string): Promise<void>;
  open(options: { domain: string }): Promise<unknown>;
  restart(): Promise<unknown>;
}
interface Transport {
  new (): { Socket: unknown; socketParameters(service: string): unknown };
}

/** The library's own 2 s hang it for ever (its reconnect gives up silently); the caller's signal is the real deadline. */
const LIBRARY_TIMEOUT_MS = 60_000;
const GOODBYE_MS = 1000;
/** Elements that may come while we still negotiate. A server sends a handful. */
const MAX_INBOX = 1000;

export async function openStream(options: StreamOptions): Promise<Stream> {
  const { host, port, domain, signal } = options;
  signal.throwIfAborted();
  const service = `xmpps://${host.includes(':') ? `[${host}]` : host}:${port}`;
  const raw = client({ service, domain, timeout: LIBRARY_TIMEOUT_MS }) as unknown as RawClient;
  raw.reconnect.stop(); // fixed 1 s delay, no jitter: ours is in session.ts

  let over: Error | undefined;
  let receivedBytes = 0;
  let handler: ((element: Element) => void) | undefined;
  let inbox: Element[] = [];
  let waiting: { resolve: (element: Element) => void; reject: (error: Error) => void } | undefined;
  const closed = Promise.withResolvers<Error>();

  const socket = new PinnedSocket(options);
  const destroy = (reason: Error) => {
    end(reason);
    socket.destroy(reason);
  };
  const end = (reason: Error) => {
    if (over) return;
    over = reason;
    signal.removeEventListener('abort', abort);
    waiting?.reject(reason);
    closed.resolve(reason);
  };
  const abort = () => destroy(signal.reason instanceof Error ? signal.reason : new Error('stopped'));
  signal.addEventListener('abort', abort);
  socket.on('bytes', (count: number) => (receivedBytes += count));
  socket.on('error', end);

  // The one transport: direct TLS. No STARTTLS, no plain TCP, no WebSocket, so nothing to be downgraded to.
  const Direct = raw.transports.find((transport) => accepts(transport, service));
  if (!Direct) throw new TypeError('@xmpp/client has no TLS transport');
  class Only extends Direct {}
  Object.assign(Only.prototype, { Socket: sockets(socket) });
  raw.transports.splice(0, raw.transports.length, Only);
  // Its own negotiation, IQ bookkeeping and stream management are bypassed: no element ever reaches them.
  raw._onElement = (element) => {
    socket.elementSeen();
    if (over) return;
    if (element.is('error', STREAM_NS)) return destroy(streamError(element));
    if (handler) handler(element);
    else if (waiting) {
      const { resolve } = waiting;
      waiting = undefined;
      resolve(element);
    } else if (inbox.push(element) > MAX_INBOX)
      destroy(new KithError({ code: 'xmpp.oversized', message: 'the server floods the login' }));
  };
  raw.on('error', (error: Error) => destroy(asKith(error))); // without a listener the process would die
  raw.on('close', () =>
    destroy(new KithError({ code: 'xmpp.unreachable', message: 'the server ended the session', retry: 'later' })),
  );

  try {
    await raw.connect(service);
    await raw.open({ domain });
  } catch (error) {
    destroy(error instanceof Error ? error : new Error(String(error)));
    throw over ?? error;
  }
  return {
    read() {
      const next = inbox.shift();
      if (next) return Promise.resolve(next);
      if (over) return Promise.reject(over);
      return new Promise((resolve, reject) => (waiting = { resolve, reject }));
    },
    consume(next) {
      const early = inbox;
      inbox = [];
      for (const element of early) next(element);
      handler = next;
    },
    write: (text) => socket.write(text),
    async restart() {
      await raw.restart();
    },
    get backlog() {
      return socket.backlog;
    },
    get receivedBytes() {
      return receivedBytes;
    },
    async close() {
      if (over) return;
      socket.write('</stream:stream>');
      const timer = setTimeout(() => destroy(new Error('closed')), GOODBYE_MS);
      await closed.promise;
      clearTimeout(timer);
    },
    destroy,
    closed: closed.promise,
  };
}

/** The library makes its sockets with `new`; a constructor that returns an object gives that object. */
function sockets(socket: PinnedSocket) {
  return function make() {
    return socket;
  };
}

function accepts(transport: Transport, service: string): boolean {
  try {
    return (transport.prototype as InstanceType<Transport>).socketParameters(service) !== undefined;
  } catch {
    return false;
  }
}

/** The parser's own errors are plain ones. */
function asKith(cause: Error): KithError {
  if (cause instanceof KithError) return cause;
  return new KithError({
    code: 'xmpp.malformed',
    message: `the server sent bad XML: ${cause.message.slice(0, 200)}`,
    retry: 'later',
    cause,
  });
}

/** RFC 6120 4.9.3. `see-other-host` is not followed: it would lead away from the pinned server. */
function streamError(element: Element): KithError {
  const condition = element.getChildElements().find((child) => child.name !== 'text')?.name ?? 'undefined-condition';
  const text = element.getChildText('text')?.slice(0, 300);
  if (condition === 'conflict') {
    return new KithError({
      code: 'xmpp.conflict',
      message: 'another process took over this session',
      hint: 'run only one peer per profile',
      retry: 'never',
    });
  }
  return new KithError({
    code: `xmpp.${condition}`,
    message: `the server ended the stream: ${text || condition}`,
    retry: 'later',
  });
}
