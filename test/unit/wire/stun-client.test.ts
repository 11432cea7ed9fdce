/** One question over UDP: asked again while nothing comes, given up in the end, deaf to everybody else. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openStunClient } from '../../../src/wire/stun-client.ts';
import { addressAttribute, reply, startStunServer } from '../../harness/stun-server.ts';
import { virtualClock, type VirtualClock } from '../../harness/virtual-clock.ts';
import { codeOf, soon } from '../../harness/xmpp.ts';

let clock: VirtualClock;
let stop: AbortController;
beforeEach(() => {
  clock = virtualClock();
  stop = new AbortController();
});
afterEach(() => stop.abort());

const open = (port: number) => openStunClient({ host: '127.0.0.1', port, clock, signal: stop.signal });
const seen = addressAttribute(0x0020, '192.0.2.1', 4000);

test('an answer says how we are seen', async () => {
  await using server = await startStunServer((request) => [reply(request, 'success', [seen])]);
  using client = await open(server.port);
  expect(await client.ask('binding')).toEqual({ success: true, mapped: '192.0.2.1:4000' });
});

test('a lost datagram is sent again, the same one', async () => {
  await using server = await startStunServer((request, index) =>
    index < 2 ? [] : [reply(request, 'success', [seen])],
  );
  using client = await open(server.port);
  const answer = client.ask('binding');
  await vi.waitFor(() => expect(server.heard).toHaveLength(1), soon);
  clock.advance(500);
  await vi.waitFor(() => expect(server.heard).toHaveLength(2), soon);
  clock.advance(1000);
  expect(await answer).toMatchObject({ success: true });
  const [first, second, third] = server.heard;
  expect(second).toEqual(first);
  expect(third).toEqual(first);
});

test('a server that says nothing of use is given up after three seconds', async () => {
  await using server = await startStunServer((request) => [
    Buffer.from('not STUN at all'),
    reply(request.fill(7, 8, 20), 'success', [seen]),
  ]);
  using client = await open(server.port);
  const answer = codeOf(client.ask('binding'));
  await vi.waitFor(() => expect(server.heard).toHaveLength(1), soon);
  clock.advance(3000);
  expect(await answer).toBe('wire.stun-mute');
});

test('the right answer from the wrong address is not heard', async () => {
  const stranger = createSocket('udp4');
  await using server = await startStunServer((request, index, from) => {
    const forged = reply(request, 'success', [addressAttribute(0x0020, '6.6.6.6', 6)]);
    if (index > 0) return [reply(request, 'success', [seen])];
    stranger.send(forged, from.port, from.address);
    return [];
  });
  using client = await open(server.port);
  const answer = client.ask('binding');
  await vi.waitFor(() => expect(server.heard).toHaveLength(1), soon);
  clock.advance(500);
  expect(await answer).toMatchObject({ mapped: '192.0.2.1:4000' });
  stranger.close();
  await once(stranger, 'close');
});

test('where nothing listens, the kernel says so', async () => {
  const gone = createSocket('udp4').bind(0, '127.0.0.1');
  await once(gone, 'listening');
  const { port } = gone.address();
  gone.close();
  await once(gone, 'close');
  using client = await open(port);
  expect(await codeOf(client.ask('binding'))).toBe('wire.stun-unreachable');
});

test('a name that is none is said so', async () => {
  const opening = openStunClient({ host: 'no.such.invalid', port: 1, clock, signal: stop.signal });
  expect(await codeOf(opening)).toBe('wire.stun-unreachable');
});

test('an abort ends the waiting', async () => {
  await using server = await startStunServer(() => []);
  using client = await open(server.port);
  const answer = client.ask('binding');
  stop.abort(new Error('enough'));
  await expect(answer).rejects.toThrow('enough');
});
