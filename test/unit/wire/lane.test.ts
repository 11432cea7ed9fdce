/** One wire of a link: hellos are told from frames, and those of strangers are nobody's. */
import { expect, test } from 'vitest';
import { decodeHeader, encodeBatch, FRAMES, PROBE, PROBE_REPLY, type BatchHeader } from '../../../src/net/batch.ts';
import type { Wire } from '../../../src/net/wire.ts';
import { createLaneDoor } from '../../../src/wire/lane.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const LAN = 7;

function lane() {
  const clock = virtualClock();
  const sent: BatchHeader[] = [];
  const passed: Uint8Array[] = [];
  const left: string[] = [];
  const wire = {
    rung: 'memory',
    maxBatch: 65_536,
    closed: new Promise<string>(() => {}),
    send: (batch: Uint8Array) => sent.push(decodeHeader(batch)!) > 0,
    stats: () => ({ sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 }),
    async [Symbol.asyncDispose]() {},
  } satisfies Wire;
  const door = createLaneDoor({
    rung: 'direct',
    self: 1,
    node: 2,
    lan: LAN,
    clock,
    onBatch: (batch) => passed.push(batch),
    onUse: () => {},
    onProved: () => {},
    onMeasure: () => {},
    onSilent: () => {},
    onPeerLeft: () => left.push('left'),
  });
  const hello = (more: Partial<BatchHeader> = {}) =>
    door.onBatch(
      encodeBatch({
        type: PROBE,
        ttl: 1,
        source: 2,
        destination: 1,
        lan: LAN,
        epoch: 0,
        life: 0,
        sequence: 5,
        ...more,
      }),
    );
  return { clock, door, wire, sent, passed, left, hello };
}

test('a hello is answered with its number, and goes no further', () => {
  const { door, wire, sent, passed, hello } = lane();
  door.opened(wire);
  hello();
  expect(sent).toMatchObject([{ type: PROBE_REPLY, source: 1, destination: 2, lan: LAN, sequence: 5 }]);
  expect(passed).toEqual([]);
});

test('hellos of another LAN, of another node, for another node, or in pieces are not', () => {
  const { door, wire, sent, passed, left, hello } = lane();
  door.opened(wire);
  for (const lie of [{ lan: 8 }, { source: 3 }, { destination: 2 }]) hello({ ...lie, epoch: 1 });
  door.onBatch(new Uint8Array(3).fill(0x11));
  door.onBatch(new Uint8Array(16).fill(0xf1));
  expect([sent, passed, left]).toEqual([[], [], []]);
});

test('a hello that comes while the wire is being opened is answered afterwards', () => {
  const { door, wire, sent, hello } = lane();
  hello({ sequence: 9 });
  door.opened(wire);
  expect(sent).toMatchObject([{ type: PROBE_REPLY, sequence: 9 }]);
});

test('frames pass, also while the wire is being opened, and are counted', () => {
  const { door, wire, passed } = lane();
  const frames = encodeBatch(
    { type: FRAMES, ttl: 1, source: 2, destination: 1, lan: LAN, epoch: 0, life: 0, sequence: 1 },
    new Uint8Array(84),
  );
  door.onBatch(frames);
  const open = door.opened(wire);
  door.onBatch(frames);
  open.face.send(frames);
  expect(passed).toHaveLength(2);
  expect([open.receivedBytes, open.sentBytes]).toEqual([200, 100]);
});

test('that the other end has left is said once, however often it comes', () => {
  const { door, wire, left, hello } = lane();
  door.opened(wire);
  for (const epoch of [0, 1, 1]) hello({ epoch });
  expect(left).toEqual(['left']);
});

test('who left and asks again as if it had not has come back', () => {
  const { door, wire, hello } = lane();
  const open = door.opened(wire);
  hello({ epoch: 1 });
  expect(open.peerLeft).toBe(true);
  hello({ epoch: 0 });
  expect(open.peerLeft).toBe(false);
});
