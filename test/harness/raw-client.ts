/** A client of a unix socket that says exactly what a test wants, well-behaved or not. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface RawClient extends AsyncDisposable {
  readonly socket: Socket;
  readonly say: (text: string | Uint8Array) => void;
  /** The next line as JSON; undefined when the other side has closed. */
  readonly next: () => Promise<unknown>;
  readonly closed: Promise<unknown>;
}

export async function rawClient(path: string): Promise<RawClient> {
  const socket = connect(path);
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await once(socket, 'connect');
  const lines: string[] = [];
  let rest: string[] = [];
  let ended = false;
  let wake = () => {};
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    rest.push(chunk);
    if (!chunk.includes('\n')) return;
    const whole = rest.join('').split('\n');
    rest = [whole.pop() ?? ''];
    lines.push(...whole);
    wake();
  });
  socket.once('close', () => {
    ended = true;
    wake();
  });
  return {
    socket,
    closed,
    say: (data) => void socket.write(data),
    async next() {
      for (;;) {
        const line = lines.shift();
        if (line !== undefined) return JSON.parse(line) as unknown;
        if (ended) return undefined;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
    async [Symbol.asyncDispose]() {
      socket.destroy();
      await closed;
    },
  };
}
