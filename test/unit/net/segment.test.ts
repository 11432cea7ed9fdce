/** A segment behind a port: devices that the plan does not know speak through it, and nobody speaks for others. */
import { describe, expect, test } from 'vitest';
import { encodeBatch, FLOOD, FRAMES } from '../../../src/net/batch.ts';
import { macNumber } from '../../../src/net/directory.ts';
import { createSwitch } from '../../../src/net/switch.ts';
import type { Batch } from '../../../src/net/wire.ts';
import { addressOf, BROADCAST, frame, macOf, runOfFrames, textOf } from '../../harness/frames.ts';
import { LAN } from '../../harness/lan.ts';
import { createMemoryPort } from '../../harness/memory-port.ts';
import { arp, ethernet, ETHERTYPE, ipv4 } from '../../harness/packets.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const DEVICE = '52:54:00:00:00:01';
const device = (i: number) => `52:54:00:00:01:${i.toString(16).padStart(2, '0')}`;

/** Two switches with a wire between them. Node 2's port has a segment behind it, node 1's only if asked. */
function pair(segments: readonly number[] = [2]) {
  const clock = virtualClock();
  let changes = 0;
  const switches = [1, 2].map((node) =>
    createSwitch({ node, lan: LAN, clock, onLearned: () => void (node === 2 && changes++) }),
  );
  const ports = [1, 2].map((node) => createMemoryPort(`guest-${node}`));
  const sent: number[] = [0, 0];
  const directory = [1, 2, 3].map((node) => ({
    node,
    mac: macOf(node),
    address: addressOf(node),
    segment: segments.includes(node),
  }));
  for (const [i, sw] of switches.entries()) {
    sw.attachPort(ports[i]!);
    sw.setGraph({ epoch: 1, edges: [[1, 2]], links: [2 - i], directory, server: 1 });
    sw.attachWire(2 - i, {
      rung: 'memory',
      maxBatch: 65_536,
      send(batch: Batch) {
        sent[i]!++;
        switches[1 - i]!.fromWire(i + 1, batch.slice());
        return true;
      },
      stats: () => ({ sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 }),
      closed: new Promise(() => {}),
      async [Symbol.asyncDispose]() {},
    });
  }
  const say = (node: number, from: string, to: string, text: string) =>
    switches[node - 1]!.fromPort(runOfFrames(frame({ from, to, text })));
  return {
    clock,
    one: switches[0]!,
    two: switches[1]!,
    say,
    sent,
    heard: (node: number) => ports[node - 1]!.frames.map(textOf),
    changes: () => changes,
  };
}

test('without the flag a foreign source stays out', () => {
  const { say, two, heard } = pair([]);
  say(2, DEVICE, BROADCAST, 'hello');
  expect([heard(1), two.stats().dropped.forged, two.learned()]).toEqual([[], 1, []]);
});

describe('a device behind a segment', () => {
  test('is heard by everybody, and learned', () => {
    const { say, two, heard, changes } = pair();
    say(2, DEVICE, BROADCAST, 'hello');
    say(2, DEVICE, macOf(1), 'again');
    expect([heard(1), two.learned(), changes()]).toEqual([['hello', 'again'], [macNumber(DEVICE)], 1]);
  });

  test('gets answers as floods before the others know it, and straight afterwards', () => {
    const { say, one, heard } = pair();
    say(2, DEVICE, BROADCAST, 'hello');
    say(1, macOf(1), DEVICE, 'flooded');
    one.setLearned(2, [macNumber(DEVICE)]);
    for (let i = 0; i < 3000; i++) say(1, macOf(1), DEVICE, 'straight');
    expect([heard(2).length, heard(2)[0], one.stats().dropped.storm]).toEqual([3001, 'flooded', 0]);
  });

  test('is forgotten when it was silent for five minutes', () => {
    const { say, two, clock } = pair();
    say(2, DEVICE, BROADCAST, 'hello');
    clock.advance(200_000);
    say(2, DEVICE, BROADCAST, 'still here');
    clock.advance(200_000);
    expect(two.learned()).toEqual([macNumber(DEVICE)]);
    clock.advance(101_000);
    expect(two.learned()).toEqual([]);
  });

  test('is one of 64 at most; the others work all the same', () => {
    const { say, two, heard } = pair();
    for (let i = 0; i < 100; i++) say(2, device(i), BROADCAST, `${i}`);
    expect([two.learned().length, heard(1).length]).toEqual([64, 100]);
  });

  test('cannot be one of the plan, a group, or one that another segment has', () => {
    const { say, two, heard } = pair([1, 2]);
    two.setLearned(1, [macNumber(DEVICE)]);
    for (const from of [macOf(1), macOf(3), '53:54:00:00:00:01', DEVICE]) say(2, from, BROADCAST, from);
    expect([heard(1), two.stats().dropped.forged, two.learned()]).toEqual([[], 4, []]);
  });

  test('may not speak for a place of the plan, by ARP or IP, nor serve', () => {
    const { two, heard } = pair();
    const lies = [
      ethernet({ from: DEVICE, type: ETHERTYPE.arp }, arp(2, DEVICE, addressOf(1), addressOf(3))),
      ethernet({ from: DEVICE, type: ETHERTYPE.arp }, arp(2, macOf(1), '10.77.0.99', addressOf(3))),
      ethernet({ from: DEVICE, type: ETHERTYPE.ipv4 }, ipv4({ from: addressOf(1), to: addressOf(3), protocol: 6 }, [])),
    ];
    for (const lie of lies) two.fromPort(runOfFrames(lie));
    expect([heard(1), two.stats().dropped]).toMatchObject([[], { 'false-neighbour': 2, 'stolen-address': 1 }]);
    two.fromPort(
      runOfFrames(ethernet({ from: DEVICE, type: ETHERTYPE.arp }, arp(1, DEVICE, '10.77.0.99', addressOf(1)))),
    );
    expect(heard(1)).toHaveLength(1);
  });
});

test('a peer without a segment cannot claim addresses, nor send from them', () => {
  const { one, two, say, heard } = pair([]);
  one.setLearned(2, [macNumber(DEVICE)]);
  const header = {
    type: FRAMES,
    ttl: 3,
    source: 2,
    destination: FLOOD,
    lan: LAN,
    epoch: 1,
    life: 0,
    sequence: 1,
  } as const;
  one.fromWire(2, encodeBatch(header, runOfFrames(frame({ from: DEVICE, to: BROADCAST, text: 'lie' }))));
  expect([heard(1), one.stats().dropped.forged]).toEqual([[], 1]);
  say(1, macOf(1), DEVICE, 'for nobody');
  expect(heard(2)).toEqual(['for nobody']); // a flood, as for any unknown address
  expect(two.learned()).toEqual([]);
});
