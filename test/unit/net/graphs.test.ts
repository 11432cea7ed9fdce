/** Which way a batch may come while a change of the graph spreads: by the graph of now, or by one of the last three seconds. */
import { describe, expect, test } from 'vitest';
import { encodeBatch, FLOOD, FRAMES } from '../../../src/net/batch.ts';
import { createGraphs } from '../../../src/net/graphs.ts';
import { createSwitch } from '../../../src/net/switch.ts';
import type { LiveEdge } from '../../../src/net/topology.ts';
import { addressOf, BROADCAST, frame, macOf, runOfFrames, textOf } from '../../harness/frames.ts';
import { LAN } from '../../harness/lan.ts';
import { createMemoryPort } from '../../harness/memory-port.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

/** From 1 to 4 by 2 or by 3, whichever is cheaper. */
const square = (by2: number, by3: number): LiveEdge[] => [
  [1, 2, by2],
  [2, 4, by2],
  [1, 3, by3],
  [3, 4, by3],
];

describe('a way that was good', () => {
  test('stays good for three seconds, for batches and floods', () => {
    const clock = virtualClock();
    const graphs = createGraphs(clock, 4);
    graphs.set(square(1, 9));
    const good = (node: number) => [graphs.sentBy(node, 1, 4) !== undefined, graphs.floodedBy(node, 1) !== undefined];
    expect([good(2), good(3)]).toEqual([[true, true], [false, false]]); // prettier-ignore
    graphs.set(square(9, 1));
    expect([good(2), good(3)]).toEqual([[true, true], [true, true]]); // prettier-ignore
    clock.advance(3000);
    expect(good(2)).toEqual([true, true]);
    clock.advance(1);
    expect([good(2), good(3)]).toEqual([[false, false], [true, true]]); // prettier-ignore
  });

  test('is one of eight: a graph that changes all the time needs no more memory', () => {
    const graphs = createGraphs(virtualClock(), 4);
    graphs.set(square(1, 9));
    for (let i = 0; i < 8; i++) graphs.set(square(9, 1));
    expect(graphs.sentBy(2, 1, 4)).toBeDefined();
    graphs.set(square(9, 1));
    expect(graphs.sentBy(2, 1, 4)).toBeUndefined();
  });
});

describe('a batch that is under way while costs change', () => {
  // Node 2 of the square: the way to 4 was straight on, and now leads back over 1.
  const before: LiveEdge[] = [[1, 2, 1], [2, 4, 1], [1, 3, 9], [3, 4, 9]]; // prettier-ignore
  const after: LiveEdge[] = [[1, 2, 1], [2, 4, 50], [1, 3, 1], [3, 4, 1]]; // prettier-ignore
  const changed = (edges: LiveEdge[]) => {
    const graphs = createGraphs(virtualClock(), 2);
    graphs.set(before);
    graphs.set(edges);
    return graphs;
  };

  test('ends its way by the graph that it began it by', () => {
    const graphs = changed(after);
    expect(graphs.current.nextHop(4)).toBe(1);
    expect(graphs.onward(graphs.sentBy(1, 1, 4)!, 4)).toBe(4);
  });

  test('goes by the new graph when the old way is gone', () => {
    const graphs = changed(after.filter(([a, b]) => a !== 2 || b !== 4));
    expect(graphs.onward(graphs.sentBy(1, 1, 4)!, 4)).toBe(1);
  });
});

/** Node 4 of the square while the cheaper way changes from 2 to 3. */
function changing() {
  const clock = virtualClock();
  const sw = createSwitch({ node: 4, lan: LAN, clock });
  const port = createMemoryPort();
  sw.attachPort(port);
  const directory = [1, 2, 3, 4].map((node) => ({ node, mac: macOf(node), address: addressOf(node) }));
  const set = (edges: readonly LiveEdge[]) => sw.setGraph({ epoch: 1, edges, links: [2, 3], directory, server: 1 });
  const from1 = (by: number, sequence: number, to = macOf(4)) => {
    const destination = to === BROADCAST ? FLOOD : 4;
    const header = { type: FRAMES, ttl: 3, source: 1, destination, lan: LAN, epoch: 1, life: 1, sequence } as const;
    sw.fromWire(by, encodeBatch(header, runOfFrames(frame({ from: macOf(1), to, text: `${sequence} by ${by}` }))));
  };
  return { sw, clock, set, from1, heard: () => port.frames.map(textOf) };
}

test('nothing is lost while it changes, and what comes by both ways is heard once', () => {
  const { sw, set, from1, heard } = changing();
  set(square(1, 9));
  from1(2, 1);
  set(square(9, 1));
  from1(3, 3); // overtakes the one before
  from1(2, 2);
  from1(2, 4, BROADCAST);
  from1(3, 4, BROADCAST);
  from1(3, 2);
  expect([heard(), sw.stats().dropped]).toMatchObject([
    ['1 by 2', '3 by 3', '2 by 2', '4 by 2'],
    { 'reverse-path': 0, duplicate: 2 },
  ]);
});

test('a link that is gone is still listened to: what left before still counts', () => {
  const { set, from1, heard, clock, sw } = changing();
  set(square(1, 9));
  set(square(1, 9).slice(2));
  from1(2, 1);
  clock.advance(3001);
  from1(2, 2);
  expect([heard(), sw.stats().dropped['reverse-path']]).toEqual([['1 by 2'], 1]);
});
