/** Bytes end up in our memory in order, by the short way and by everybody's. */
import { connect, createServer, Socket, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { readInto } from '../../../src/base/slab-reader.ts';

/** Reads into a slab of 1000 bytes, and gives all that came. */
function collect(socket: Socket) {
  const slab = Buffer.alloc(1000);
  const parts: Buffer[] = [];
  let reads = 0;
  readInto(socket, {
    room: () => slab.subarray(reads % 7), // another place each time
    arrived(count) {
      parts.push(Buffer.from(slab.subarray(reads % 7, (reads % 7) + count)));
      reads++;
    },
  });
  return () => Buffer.concat(parts);
}

async function connection() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [far] = (await once(server, 'connection')) as [Socket];
  server.close();
  return { near, far };
}

const text = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7) & 255));

test('from a connection, what was read before included, and its end is told', async () => {
  const { near, far } = await connection();
  near.write('before');
  await once(far, 'readable');
  expect(far.read(2)).toEqual(Buffer.from('be'));
  const got = collect(far);
  near.end(text);
  await once(far, 'end');
  expect(got()).toEqual(Buffer.concat([Buffer.from('fore'), text]));
  near.destroy();
});

test('from a Node that has other names inside: as everybody reads', async () => {
  const { near, far } = await connection();
  Object.defineProperty((far as unknown as { _handle: object })._handle, 'useUserBuffer', { value: undefined });
  const got = collect(far);
  expect(far.listenerCount('data')).toBe(1);
  near.end(text);
  await once(far, 'end');
  expect(got()).toEqual(text);
  near.destroy();
});

test('this Node has the names that we know', async () => {
  const { near, far } = await connection();
  collect(far);
  expect(far.listenerCount('data')).toBe(0);
  near.destroy();
  far.destroy();
});

test('nothing from a connection that has ended', () => {
  const socket = new Socket();
  socket.destroy();
  const got = collect(socket);
  expect(got()).toHaveLength(0);
});
