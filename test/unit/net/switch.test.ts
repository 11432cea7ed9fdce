/** A frame's way through a LAN of switches, and everything that must not get through. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeHeader,
  encodeBatch,
  FLOOD,
  FRAMES,
  frames,
  NOTE,
  PROBE,
  runOf,
  type BatchHeader,
} from '../../../src/net/batch.ts';
import { createSwitch } from '../../../src/net/switch.ts';
import type { LiveEdge } from '../../../src/net/topology.ts';
import type { Batch, Wire } from '../../../src/net/wire.ts';
import { addressOf, BROADCAST, frame, IPV6_ALL_NODES, macOf, runOfFrames, textOf } from '../../harness/frames.ts';
import { createLan, LAN, linksOf, type TestLan } from '../../harness/lan.ts';
import { createMemoryPort } from '../../harness/memory-port.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const NODES = [1, 2, 3, 4, 5];
const STRANGER = '02:99:99:99:99:99';

/** Everybody's addresses; node 1 has the master guest. */
const PLANNED = {
  directory: NODES.map((node) => ({ node, mac: macOf(node), address: addressOf(node) })),
  server: 1,
};

const graphOf = (edges: readonly LiveEdge[], node: number, epoch = 1) => ({
  epoch,
  edges,
  links: linksOf(edges, node),
  ...PLANNED,
});

const say = (lan: TestLan, from: number, to: string, text: string) =>
  lan.node(from).switch.fromPort(runOfFrames(frame({ to, from: macOf(from), text })));

const drops = (lan: TestLan) =>
  Object.fromEntries(
    [...lan.nodes].flatMap(([node, { switch: sw }]) =>
      Object.entries(sw.stats().dropped)
        .filter(([, count]) => count > 0)
        .map(([reason, count]) => [`${node} ${reason}`, count]),
    ),
  );

const topologies = [
  ['star', { kind: 'star' }],
  ['mesh', { kind: 'mesh' }],
  ['ring', { kind: 'ring' }],
  [
    'line',
    {
      kind: 'edges',
      edges: [
        [5, 3],
        [3, 1],
        [1, 2],
        [2, 4],
      ],
    },
  ],
  [
    'house',
    {
      kind: 'edges',
      edges: [
        [1, 2],
        [2, 3],
        [3, 4],
        [4, 1],
        [4, 5],
        [5, 3],
      ],
    },
  ],
] as const;

describe.each(topologies)('a %s of five', (_, topology) => {
  test.each([
    ['broadcast', BROADCAST],
    ['IPv6 multicast', IPV6_ALL_NODES],
    ['unknown unicast', STRANGER],
  ])('%s from anywhere arrives everywhere else exactly once', async (_, to) => {
    const lan = createLan(topology, NODES);
    for (const from of NODES) say(lan, from, to, `from ${from}`);
    const hops = await lan.settle();
    expect(hops).toBe(NODES.length * (NODES.length - 1));
    for (const [node, { heard }] of lan.nodes) {
      expect(heard().toSorted()).toEqual(NODES.filter((other) => other !== node).map((other) => `from ${other}`));
    }
    expect(drops(lan)).toEqual({});
  });

  test('unicast arrives at its node alone', async () => {
    const lan = createLan(topology, NODES);
    for (const from of NODES) for (const to of NODES) if (from !== to) say(lan, from, macOf(to), `${from} to ${to}`);
    await lan.settle();
    for (const [node, { heard }] of lan.nodes) {
      expect(heard().toSorted()).toEqual(NODES.filter((other) => other !== node).map((other) => `${other} to ${node}`));
    }
    expect(drops(lan)).toEqual({});
  });
});

test('on random graphs a flood takes one hop per node and is heard once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat({ max: 11 }), { minLength: 11, maxLength: 11 }),
      fc.array(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 })), { maxLength: 20 }),
      async (parents, extra) => {
        const nodes = Array.from({ length: 12 }, (_, i) => i + 1);
        const tree = parents.map((parent, i) => [i + 2, (parent % (i + 1)) + 1] as const);
        const lan = createLan({ kind: 'edges', edges: [...tree, ...extra] }, nodes);
        say(lan, 4, BROADCAST, 'hello');
        expect(await lan.settle()).toBe(11);
        for (const [node, { heard }] of lan.nodes) expect(heard()).toEqual(node === 4 ? [] : ['hello']);
      },
    ),
    { numRuns: 40 },
  );
});

describe('a run from the guest', () => {
  test('is cut where its destination changes, in order', async () => {
    const lan = createLan({ kind: 'star' }, NODES);
    const to = [2, 2, 3, 2].map((node, i) => frame({ to: macOf(node), from: macOf(1), text: `${i}` }));
    lan.node(1).switch.fromPort(runOfFrames(...to));
    expect(await lan.settle()).toBe(3);
    expect(lan.node(2).heard()).toEqual(['0', '1', '3']);
    expect(lan.node(3).heard()).toEqual(['2']);
  });

  test('is split so that each batch fits the wire', async () => {
    const lan = createLan({ kind: 'star' }, NODES, 4000);
    const many = Array.from({ length: 10 }, (_, i) =>
      frame({ to: macOf(2), from: macOf(1), text: `${i}`, length: 1514 }),
    );
    lan.node(1).switch.fromPort(runOfFrames(...many));
    expect(await lan.settle()).toBe(5);
    expect(lan.node(2).heard()).toEqual(many.map((_, i) => `${i}`));
  });

  test('a frame that is larger than the wire is dropped, the others arrive', async () => {
    const lan = createLan({ kind: 'star' }, NODES, 4000);
    const frames = [100, 9000, 100].map((length, i) => frame({ to: macOf(2), from: macOf(1), text: `${i}`, length }));
    lan.node(1).switch.fromPort(runOfFrames(...frames));
    await lan.settle();
    expect(lan.node(2).heard()).toEqual(['0', '2']);
    expect(drops(lan)).toEqual({ '1 too-large': 1 });
  });

  test('a flood larger than one stanza leaves in several batches, each heard once by all', async () => {
    const lan = createLan({ kind: 'ring' }, NODES);
    const many = Array.from({ length: 20 }, (_, i) =>
      frame({ to: BROADCAST, from: macOf(1), text: `${i}`, length: 1514 }),
    );
    lan.node(1).switch.fromPort(runOfFrames(...many));
    await lan.settle();
    for (const node of [2, 3, 4, 5]) expect(lan.node(node).heard()).toEqual(many.map((_, i) => `${i}`));
    const sent: Batch[] = [];
    lan.node(1).switch.attachWire(2, recorder(sent));
    lan.node(1).switch.fromPort(runOfFrames(...many));
    expect(Math.max(...sent.map((batch) => batch.length))).toBeLessThan(12_000);
  });

  test('with forged, oversized and cut-off frames loses just those', async () => {
    const lan = createLan({ kind: 'star' }, NODES);
    const good = frame({ to: macOf(2), from: macOf(1), text: 'good' });
    const run = runOfFrames(
      frame({ to: macOf(2), from: macOf(3), text: 'not me' }),
      good,
      frame({ to: macOf(2), from: BROADCAST, text: 'group' }),
      frame({ to: macOf(1), from: macOf(1), text: 'to myself' }),
      good,
    );
    lan.node(1).switch.fromPort(run.subarray(0, run.length - 1));
    await lan.settle();
    expect(lan.node(2).heard()).toEqual(['good']);
    expect(drops(lan)).toEqual({ '1 forged': 2, '1 local': 1, '1 malformed': 1 });
  });

  test('respects the MTU, with room for a VLAN tag', async () => {
    const sw = createSwitch({ node: 1, lan: LAN, clock: virtualClock(), mtu: 1500 });
    sw.setGraph(graphOf([[1, 2]], 1));
    const sent: Batch[] = [];
    sw.attachWire(2, recorder(sent));
    const of = (length: number) => runOfFrames(frame({ to: BROADCAST, from: macOf(1), length }));
    sw.fromPort(of(1518));
    sw.fromPort(of(1519));
    expect(sent).toHaveLength(1);
    expect(sw.stats().dropped['too-large']).toBe(1);
  });
});

test('a guest that makes up a hundred thousand addresses gets through with its own alone', async () => {
  const lan = createLan({ kind: 'star' }, [1, 2]);
  const sw = lan.node(1).switch;
  for (let i = 0; i < 100_000; i++) {
    const from = `02:aa:00:${[i >> 16, (i >> 8) & 255, i & 255].map((b) => b.toString(16).padStart(2, '0')).join(':')}`;
    sw.fromPort(runOfFrames(frame({ to: macOf(2), from })));
  }
  say(lan, 1, macOf(2), 'still here');
  await lan.settle();
  expect(lan.node(2).heard()).toEqual(['still here']);
  expect(drops(lan)).toEqual({ '1 forged': 100_000 });
});

describe('hostile batches', () => {
  /** Node 2 of a star, which hears only node 1; what it sends and gives to its guest is recorded. */
  function victim(
    edges: readonly (readonly [number, number])[] = [
      [1, 2],
      [1, 3],
      [2, 4],
    ],
  ) {
    const sw = createSwitch({ node: 2, lan: LAN, clock: virtualClock() });
    const port = createMemoryPort();
    const sent: Batch[] = [];
    sw.attachPort(port);
    sw.attachWire(1, recorder(sent));
    sw.attachWire(4, recorder(sent));
    sw.setGraph(graphOf(edges, 2));
    return { sw, port, sent };
  }
  const base: BatchHeader = {
    type: FRAMES,
    ttl: 5,
    source: 3,
    destination: 2,
    lan: LAN,
    epoch: 1,
    life: 0,
    sequence: 1,
  };
  const hello = runOfFrames(frame({ to: macOf(2), from: macOf(3), text: 'hello' }));

  test('the honest one arrives', () => {
    const { sw, port } = victim();
    sw.fromWire(1, encodeBatch(base, hello));
    expect(port.frames.map(textOf)).toEqual(['hello']);
  });

  test.each([
    ['of another LAN', 1, { lan: 8 }, hello, 'other-lan'],
    ['from a peer without a link', 3, {}, hello, 'not-neighbour'],
    ['from a node that is not on the LAN', 1, { source: 77 }, hello, 'bad-source'],
    ['that claims to be from ourselves', 1, { source: 2 }, hello, 'bad-source'],
    ['with another node’s source address', 1, { source: 1 }, hello, 'forged'],
    ['whose frames have a group as source', 1, {}, runOfFrames(frame({ to: macOf(2), from: BROADCAST })), 'forged'],
    ['without frames', 1, {}, new Uint8Array(0), 'malformed'],
    ['with a cut-off frame', 1, {}, hello.subarray(0, 40), 'malformed'],
    ['with bytes behind the last frame', 1, {}, Buffer.concat([hello, Buffer.alloc(3)]), 'malformed'],
    [
      'with a frame of more than QEMU takes',
      1,
      {},
      runOfFrames(frame({ to: macOf(2), from: macOf(3), length: 69_633 })),
      'malformed',
    ],
    ['whose hops are used up', 1, { destination: 4, ttl: 1 }, hello, 'ttl'],
    ['to a node that does not exist', 1, { destination: 99 }, hello, 'unreachable'],
    ['that would go straight back', 1, { destination: 3 }, hello, 'reverse-path'],
    ['a flood from the wrong side', 4, { destination: FLOOD }, hello, 'reverse-path'],
    ['a hello, which belongs to a wire', 1, { type: PROBE }, hello, 'malformed'],
  ] as const)('%s: dropped and counted', (_, from, change, run, reason) => {
    const { sw, port, sent } = victim();
    sw.fromWire(from, encodeBatch({ ...base, ...change }, run));
    expect(Object.entries(sw.stats().dropped).filter(([, count]) => count > 0)).toEqual([[reason, 1]]);
    expect(port.frames).toEqual([]);
    expect(sent).toEqual([]);
  });

  test('a flood that comes twice is heard and passed on once', () => {
    const { sw, port, sent } = victim();
    for (let i = 0; i < 2; i++) sw.fromWire(1, encodeBatch({ ...base, destination: FLOOD }, hello));
    expect(port.frames).toHaveLength(1);
    expect(sent).toHaveLength(1);
    expect(sw.stats().dropped.duplicate).toBe(1);
  });

  test('a batch for one node that comes twice is heard or passed on once', () => {
    const { sw, port, sent } = victim();
    for (const [sequence, destination] of [
      [1, 2],
      [1, 2],
      [2, 4],
      [2, 4],
      [1, 4],
    ] as const) {
      sw.fromWire(1, encodeBatch({ ...base, sequence, destination }, hello));
    }
    expect([port.frames.length, sent.length, sw.stats().dropped.duplicate]).toEqual([1, 1, 3]);
  });

  test('who is not on the way cannot use up the numbers of another', () => {
    const { sw, port } = victim();
    sw.fromWire(4, encodeBatch(base, hello));
    sw.fromWire(1, encodeBatch(base, hello));
    expect([port.frames.length, sw.stats().dropped]).toMatchObject([1, { 'reverse-path': 1, duplicate: 0 }]);
  });

  test('a flood with its last hop is heard and not passed on', () => {
    const { sw, port, sent } = victim();
    sw.fromWire(1, encodeBatch({ ...base, destination: FLOOD, ttl: 1 }, hello));
    expect(port.frames).toHaveLength(1);
    expect(sent).toEqual([]);
    expect(sw.stats().dropped.ttl).toBe(1);
  });

  test('a flood by a graph that we do not know yet must come by the tree that we know', () => {
    const { sw, port, sent } = victim();
    sw.fromWire(4, encodeBatch({ ...base, destination: FLOOD, epoch: 9 }, hello));
    expect([port.frames, sent, sw.stats().dropped['reverse-path']]).toEqual([[], [], 1]);
    sw.fromWire(1, encodeBatch({ ...base, destination: FLOOD, epoch: 9 }, hello));
    expect(port.frames).toHaveLength(1);
    expect(sent).toHaveLength(1);
  });

  test('a neighbour cannot pose as a node whose way to us leads elsewhere', () => {
    const { sw, port, sent } = victim();
    for (const destination of [2, 1]) sw.fromWire(4, encodeBatch({ ...base, source: 3, destination }, hello));
    expect([port.frames, sent, sw.stats().dropped['reverse-path']]).toEqual([[], [], 2]);
  });

  test('a flood by the last graph is checked and passed on by the last graph', () => {
    const { sw, port, sent } = victim();
    const next = [
      [1, 2],
      [2, 3],
      [2, 4],
    ] as const;
    sw.setGraph(graphOf(next, 2, 2));
    sw.fromWire(4, encodeBatch({ ...base, destination: FLOOD }, hello));
    expect(sw.stats().dropped['reverse-path']).toBe(1);
    sw.fromWire(1, encodeBatch({ ...base, destination: FLOOD }, hello));
    expect(port.frames).toHaveLength(1);
    expect(sent).toHaveLength(1);
  });

  test('in transit nothing but the ttl changes, not even when the frames are nonsense', () => {
    const { sw, port, sent } = victim();
    const nonsense = Uint8Array.of(1, 2, 3);
    sw.fromWire(1, encodeBatch({ ...base, destination: 4 }, nonsense));
    expect(sent).toEqual([encodeBatch({ ...base, destination: 4, ttl: 4 }, nonsense)]);
    expect(port.frames).toEqual([]);
  });

  test('any bytes from any side leave the switch alive', () => {
    const { sw, port } = victim();
    fc.assert(
      fc.property(fc.nat({ max: 5 }), fc.uint8Array({ maxLength: 200 }), fc.boolean(), (from, bytes, ours) => {
        if (ours && bytes.length > 8) bytes.set([0x10, 3, 0, 3, 0, 2, 0, LAN]);
        sw.fromWire(from, bytes);
        sw.fromPort(bytes);
      }),
      { numRuns: 2000 },
    );
    sw.fromWire(1, encodeBatch(base, hello));
    expect(port.frames.map(textOf)).toContain('hello');
  });
});

describe('a new revision of the plan', () => {
  test('while it spreads, floods are heard at most once and never go round', async () => {
    const lan = createLan({ kind: 'mesh' }, NODES);
    const ring = [
      [1, 2],
      [2, 3],
      [3, 4],
      [4, 5],
      [1, 5],
    ] as const;
    const done: number[] = [];
    for (const node of [3, 1, 5, 2, 4]) {
      lan.setGraph(2, ring, [node]);
      done.push(node);
      for (const from of NODES) say(lan, from, BROADCAST, `${from} after ${done.join()}`);
      expect(await lan.settle()).toBeLessThan(NODES.length ** 3);
    }
    for (const [node, { heard }] of lan.nodes) {
      expect(new Set(heard()).size).toBe(heard().length);
      // With everybody on the new graph nothing is lost any more.
      const last = heard().filter((text) => text.endsWith('after 3,1,5,2,4'));
      expect(last.toSorted()).toEqual(NODES.filter((n) => n !== node).map((n) => `${n} after 3,1,5,2,4`));
    }
  });

  test('a peer that starts again is heard at once', async () => {
    const lan = createLan({ kind: 'star' }, [1, 2]);
    for (const life of ['first', 'second', 'third']) {
      const sw = createSwitch({ node: 2, lan: LAN, clock: virtualClock() });
      const sent: Batch[] = [];
      sw.attachWire(1, recorder(sent));
      sw.setGraph(graphOf([[1, 2]], 2));
      for (const to of [BROADCAST, macOf(1)]) sw.fromPort(runOfFrames(frame({ to, from: macOf(2), text: life })));
      for (const batch of sent) lan.node(1).switch.fromWire(2, batch);
    }
    expect(lan.node(1).heard()).toEqual(['first', 'first', 'second', 'second', 'third', 'third']);
  });
});

describe('statistics', () => {
  test('totals outlive a wire that was replaced', () => {
    const sw = createSwitch({ node: 1, lan: LAN, clock: virtualClock() });
    sw.setGraph(graphOf([[1, 2]], 1));
    const detachOld = sw.attachWire(2, recorder([], { sentBytes: 10, receivedBytes: 20, drops: 1 }));
    const detachNew = sw.attachWire(2, recorder([], { sentBytes: 1, receivedBytes: 2, drops: 3 }));
    detachOld(); // late, must not take the new one away
    expect(sw.stats().neighbours).toMatchObject([
      { node: 2, rung: 'memory', sentBytes: 11, receivedBytes: 22, drops: 4 },
    ]);
    detachNew();
    expect(sw.stats().neighbours).toEqual([]);
  });

  test('totals are forgotten with a neighbour that has left', () => {
    const sw = createSwitch({ node: 1, lan: LAN, clock: virtualClock() });
    const graph = (epoch: number, other: number) => sw.setGraph(graphOf([[1, other]], 1, epoch));
    graph(1, 2);
    sw.attachWire(2, recorder([], { sentBytes: 10, receivedBytes: 20, drops: 1 }))();
    graph(2, 3);
    graph(3, 2);
    sw.attachWire(2, recorder([]));
    expect(sw.stats().neighbours[0]).toMatchObject({ sentBytes: 0, receivedBytes: 0, drops: 0 });
  });

  test('a guest that does not read and a wire that is full are counted', async () => {
    const lan = createLan({ kind: 'star' }, [1, 2]);
    lan.node(2).port.stall();
    say(lan, 1, macOf(2), 'lost');
    await lan.settle();
    expect(drops(lan)).toEqual({ '2 port-full': 1 });
    lan.node(1).switch.attachWire(2, { ...recorder([]), send: () => false });
    say(lan, 1, macOf(2), 'lost too');
    say(lan, 1, BROADCAST, 'lost too');
    expect(drops(lan)).toEqual({ '1 wire-full': 2, '2 port-full': 1 });
  });

  test('a link without a wire is counted', () => {
    const sw = createSwitch({ node: 1, lan: LAN, clock: virtualClock() });
    sw.setGraph(graphOf([[1, 2]], 1));
    sw.fromPort(runOfFrames(frame({ to: macOf(2), from: macOf(1) }), frame({ to: BROADCAST, from: macOf(1) })));
    expect(sw.stats().dropped['no-wire']).toBe(2);
  });
});

test('two ports of one switch hear each other, and none itself', () => {
  const sw = createSwitch({ node: 1, lan: LAN, clock: virtualClock() });
  const [a, b] = [createMemoryPort('a'), createMemoryPort('b')];
  sw.setGraph(graphOf([], 1));
  sw.attachPort(a);
  const unplug = sw.attachPort(b);
  sw.fromPort(runOfFrames(frame({ to: BROADCAST, from: macOf(1), text: 'hi' })), 0, a);
  expect(a.frames).toHaveLength(0);
  expect(b.frames.map(textOf)).toEqual(['hi']);
  sw.fromPort(runOfFrames(frame({ to: macOf(1), from: macOf(1), text: 'back' })), 0, b);
  expect(a.frames.map(textOf)).toEqual(['back']);
  unplug();
  sw.fromPort(runOfFrames(frame({ to: BROADCAST, from: macOf(1) })), 0, a);
  expect(b.frames).toHaveLength(1);
});

describe('a path with a narrow wire on it', () => {
  const line = [
    [1, 2, 1, 65_536],
    [2, 3, 1, 3000],
  ] as const;
  const four = Array.from({ length: 4 }, (_, i) => frame({ to: macOf(3), from: macOf(1), text: `${i}`, length: 1000 }));

  test('gets batches that fit all of it from the source', () => {
    const sw = createSwitch({ node: 1, lan: LAN, clock: virtualClock() });
    const sent: Batch[] = [];
    sw.setGraph(graphOf(line, 1));
    sw.attachWire(2, recorder(sent));
    sw.fromPort(runOfFrames(...four));
    expect(sent.map(({ length }) => length)).toEqual([16 + 2 * 1004, 16 + 2 * 1004]);
    expect(sent.flatMap((batch) => [...frames(runOf(batch))].map(textOf))).toEqual(['0', '1', '2', '3']);
  });

  test('is not cut to by those on the way: what is too large is dropped', () => {
    const sw = createSwitch({ node: 2, lan: LAN, clock: virtualClock() });
    const sent: Batch[] = [];
    sw.setGraph(graphOf(line, 2));
    sw.attachWire(3, { ...recorder(sent), maxBatch: 3000 });
    const header = { type: FRAMES, ttl: 5, source: 1, destination: 3, lan: LAN, epoch: 1, life: 0 } as const;
    sw.fromWire(1, encodeBatch({ ...header, sequence: 1 }, runOfFrames(...four)));
    sw.fromWire(1, encodeBatch({ ...header, destination: FLOOD, sequence: 2 }, runOfFrames(...four)));
    expect(sent).toEqual([]);
    expect(sw.stats().dropped['too-large']).toBe(2);
  });
});

describe('headroom', () => {
  test('in front of a run takes the header, so that both leave as one slice of the same memory', () => {
    const sw = createSwitch({ node: 1, lan: LAN, clock: virtualClock() });
    const seen: Batch[] = [];
    const sent: Batch[] = [];
    sw.setGraph(graphOf([[1, 2], [1, 3]], 1)); // prettier-ignore
    for (const node of [2, 3])
      sw.attachWire(node, { ...recorder(sent), send: (batch) => seen.push(batch) + sent.push(batch.slice()) > 0 });
    const run = runOfFrames(...[2, 2, 3, 2].map((node, i) => frame({ to: macOf(node), from: macOf(1), text: `${i}` })));
    const slab = new Uint8Array(100 + run.length);
    slab.set(run, 100);
    sw.fromPort(slab.subarray(100), 16);
    expect(seen.every(({ buffer }) => buffer === slab.buffer)).toBe(true);
    expect(sent.map((batch) => [decodeHeader(batch)!.destination, [...frames(runOf(batch))].map(textOf)])).toEqual([
      [2, ['0', '1']],
      [3, ['2']],
      [2, ['3']],
    ]);
  });

  test.each([0, 15])('of %i bytes is none: the run is left as it was', (headroom) => {
    const sw = createSwitch({ node: 1, lan: LAN, clock: virtualClock() });
    const sent: Batch[] = [];
    sw.setGraph(graphOf([[1, 2], [1, 3]], 1)); // prettier-ignore
    for (const node of [2, 3]) sw.attachWire(node, recorder(sent));
    const run = runOfFrames(
      ...[2, 3, BROADCAST].map((to) => frame({ to: typeof to === 'string' ? to : macOf(to), from: macOf(1) })),
    );
    const before = run.slice();
    sw.fromPort(run, headroom);
    expect([run, sent.length]).toEqual([before, 4]);
  });
});

describe('notes', () => {
  const note = { type: NOTE, ttl: 1, source: 1, destination: 2, lan: LAN, epoch: 1, life: 0, sequence: 0 } as const;
  const listener = () => {
    const heard: [number, string][] = [];
    const onNote = (from: number, payload: Uint8Array) => void heard.push([from, Buffer.from(payload).toString()]);
    const sw = createSwitch({ node: 2, lan: LAN, clock: virtualClock(), onNote });
    sw.setGraph({ ...graphOf([], 2), links: [1] });
    return { sw, heard };
  };

  test('go to the neighbour and no farther, also over a link that carries no frames yet', () => {
    const { sw, heard } = listener();
    const far = createSwitch({ node: 1, lan: LAN, clock: virtualClock() });
    far.setGraph({ ...graphOf([], 1), links: [2] });
    expect(far.sendNote(2, Buffer.from('early'))).toBe(false);
    far.attachWire(2, { ...recorder([]), send: (batch) => (sw.fromWire(1, batch), true) });
    expect(far.sendNote(2, Buffer.from('hello'))).toBe(true);
    expect(far.sendNote(3, Buffer.from('nobody'))).toBe(false);
    expect(far.sendNote(2, new Uint8Array(8193))).toBe(false);
    expect(heard).toEqual([[1, 'hello']]);
  });

  test.each([
    ['from a peer without a link', 4, {}, 'not-neighbour'],
    ['of another LAN', 1, { lan: 8 }, 'other-lan'],
    ['that somebody else sent', 1, { source: 4 }, 'malformed'],
    ['for somebody else', 1, { destination: 4 }, 'malformed'],
    ['that may go farther', 1, { ttl: 2 }, 'malformed'],
  ] as const)('%s: dropped and counted', (_, from, change, reason) => {
    const { sw, heard } = listener();
    sw.fromWire(from, encodeBatch({ ...note, ...change }, Buffer.from('lie')));
    expect([heard, sw.stats().dropped[reason]]).toEqual([[], 1]);
  });

  test('that are too large are dropped', () => {
    const { sw, heard } = listener();
    sw.fromWire(1, encodeBatch(note, new Uint8Array(8193)));
    expect([heard, sw.stats().dropped.malformed]).toEqual([[], 1]);
  });
});

function recorder(sent: Batch[], stats = { sentBytes: 0, receivedBytes: 0, drops: 0 }): Wire {
  return {
    rung: 'memory',
    maxBatch: 65_536,
    send: (batch) => sent.push(batch.slice()) > 0,
    stats: () => ({ ...stats, queuedBytes: 0 }),
    closed: new Promise(() => {}),
    async [Symbol.asyncDispose]() {},
  };
}
