/** Sockets that QEMU dials as it starts: we listen before it exists, take one connection each, and stop listening. */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { KithError } from '../base/errors.ts';

export interface Listener extends AsyncDisposable {
  readonly accepted: Promise<Socket>;
}

/** sun_path of unix(7) holds 108 bytes, the last of which is zero; macOS has four less. */
const MAX_PATH_BYTES = process.platform === 'darwin' ? 103 : 107;

export async function listenOnce(path: string): Promise<Listener> {
  checkSocketPath(path);
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  promise.catch(() => {}); // nobody may be waiting any more when we give up
  let given: Socket | undefined;
  const server = createServer((socket) => {
    // Accepted and not yet listened to must not be lost, and a late error must not be unhandled.
    if (given) return socket.destroy();
    given = socket;
    socket.on('error', () => {});
    server.close();
    resolve(socket);
  });
  try {
    server.listen(path);
    await once(server, 'listening');
  } catch (cause) {
    throw new KithError({
      code: 'guest.socket-taken',
      message: `cannot listen on ${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: 'another guest of the same name may be running in the same run directory',
      cause,
    });
  }
  return {
    accepted: promise,
    async [Symbol.asyncDispose]() {
      reject(new Error('not waiting any more'));
      given?.destroy();
      server.close();
      await rm(path, { force: true });
    },
  };
}

function checkSocketPath(path: string): void {
  if (Buffer.byteLength(path) <= MAX_PATH_BYTES) return;
  throw new KithError({
    code: 'guest.path-too-long',
    message: `the socket path ${path} is longer than the ${MAX_PATH_BYTES} bytes that the system allows`,
    hint: 'set XDG_RUNTIME_DIR to a shorter path',
  });
}
