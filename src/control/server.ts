/** The local API of a running peer: requests of its owner's own programs over a unix socket that only the owner can open. */
import { chmod } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { describeError, KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { parseParams, type PeerApi } from './api.ts';
import { serveConnection, type Methods } from './connection.ts';
import { parseHostParams, type HostApi } from './host-api.ts';
import { encodeLine } from './lines.ts';

/** A person has a few terminals and a page open; more than this is a program gone wild. */
const MAX_CONNECTIONS = 32;

/** All answers that wait for slow readers together: two of the largest (connection.ts), and room for everybody else. */
const MAX_TOTAL_BACKLOG_BYTES = 128 * 1024 * 1024;

/** `sun_path` is 108 bytes with its NUL on Linux (unix(7)), 104 on macOS; a longer one fails in words nobody understands. */
const MAX_SOCKET_PATH_BYTES = process.platform === 'linux' ? 107 : 103;

/** Long enough for a program that was stopped and continued on a busy machine. */
const STALL_MS = 30_000;

/** How long a last answer may take to reach its reader when the peer ends. */
const FAREWELL_MS = 500;

export interface ControlOptions {
  readonly path: string;
  /** Of a peer, or of a host. */
  readonly api: PeerApi | { readonly host: HostApi };
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
  /** A reader that takes nothing for so long while answers wait is dropped. */
  readonly stallMs?: number;
}

/** Serves until disposed or aborted; then all connections are closed and the socket is gone. The folder must be 0700. */
export async function serveControl(options: ControlOptions): Promise<AsyncDisposable> {
  const { path, log, signal, stallMs = STALL_MS } = options;
  signal?.throwIfAborted();
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new KithError({
      code: 'control.long-path',
      message: `the path of the control socket has ${Buffer.byteLength(path)} bytes, ${MAX_SOCKET_PATH_BYTES} are possible: ${path}`,
      hint: 'set XDG_RUNTIME_DIR to a shorter path, or choose a shorter --name',
    });
  }
  const methods: Methods =
    'host' in options.api
      ? { api: options.api.host, parse: parseHostParams }
      : { api: options.api, parse: parseParams };
  const sockets = new Set<Socket>();
  const backlog = () => [...sockets].reduce((sum, socket) => sum + socket.writableLength, 0);
  const server = createServer((socket) => {
    socket.on('error', () => {}); // a client that goes is no event; 'close' follows
    if (sockets.size >= MAX_CONNECTIONS) {
      log.warn('control connection refused', { reason: `${MAX_CONNECTIONS} are open` });
      socket.write(
        encodeLine({
          id: null,
          error: { code: 'control.busy', message: `${MAX_CONNECTIONS} programs are connected already` },
        }),
      );
      socket.destroySoon();
      return;
    }
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serveConnection(socket, {
      ...methods,
      log,
      stallMs,
      mayQueue: (bytes) => backlog() + bytes <= MAX_TOTAL_BACKLOG_BYTES,
    });
  });

  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= (async () => {
      signal?.removeEventListener('abort', onAbort);
      const gone = new Promise<void>((resolve) => server.close(() => resolve())); // libuv unlinks the socket
      await setImmediate(); // the answer to `down` is still being written when it makes us end
      await Promise.all([...sockets].map(farewell));
      await gone;
    })();
    return closed;
  };
  const onAbort = () => void close();

  await listen(server, path);
  server.on('error', (error) => log.warn('control socket failed', { reason: describeError(error) })); // accept: out of descriptors
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) await close();
  signal?.throwIfAborted();
  return { [Symbol.asyncDispose]: close };
}

async function listen(server: Server, path: string): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ path }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    await chmod(path, 0o600);
  } catch (cause) {
    server.close();
    throw new KithError({
      code: 'control.no-socket',
      message: `cannot listen on ${path}: ${describeError(cause)}`,
      hint: 'look at the rights of that folder, or set XDG_RUNTIME_DIR',
      cause,
    });
  }
}

/** Lets what is written go out, but waits for no one who does not read. */
async function farewell(socket: Socket): Promise<void> {
  const timer = new AbortController();
  const closed = new Promise<void>((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
  socket.destroySoon();
  await Promise.race([closed, setTimeout(FAREWELL_MS, undefined, { signal: timer.signal }).catch(() => {})]);
  timer.abort();
  socket.destroy();
  await closed;
}
