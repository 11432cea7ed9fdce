/** A slice of the chaos simulation: small LANs, and a few stories that are always the same. All of it: `npm run chaos`. */
import { expect, test } from 'vitest';
import { topologyEdges, type Edge, type TopologyShape } from '../../src/net/topology.ts';
import { seeded } from './random.ts';
import { runScenario } from './scenario.ts';
import { add, describe as describeTotals, noTotals } from './totals.ts';
import { truthOf, wrongView } from './truth.ts';
import { createWorld, type World } from './world.ts';

const SCENARIOS = 150;
/** Of one scenario in a hundred; the rest of the time is for machines that are slow and busy. */
const TIMEOUT_MS = 300_000;

test(
  '150 random scenarios: no loop, no duplicate, nothing lost in a settled graph or by a change of costs',
  { timeout: TIMEOUT_MS },
  () => {
    const totals = noTotals();
    for (let seed = 1; seed <= SCENARIOS; seed++) add(totals, runScenario({ seed, peers: [12, 60] }));
    process.stdout.write(`${describeTotals(totals)}\n`);
    expect(totals.failures).toEqual([]);
    expect([totals.loops, totals.duplicates]).toEqual([0, 0]);
    expect(totals.healing.cut.length).toBeGreaterThan(10);
  },
);

test.each([
  [1652, 'a node that never knew its link to be down was not told what it lacked'],
  [4805, 'a flood by way of two trees ran out of hops'],
])('seed %d, which failed once: %s', (seed) => {
  expect(runScenario({ seed }).failure).toBeUndefined();
});

test('a seed decides everything', () => {
  const once = runScenario({ seed: 77, peers: [12, 30] });
  expect(runScenario({ seed: 77, peers: [12, 30] })).toEqual(once);
});

function lan(topology: TopologyShape, count: number): World {
  const nodes = Array.from({ length: count }, (_, i) => i + 1);
  const random = seeded(1);
  const world = createWorld({ nodes, edges: topologyEdges(topology, nodes), random, noteLoss: 0, latency: () => 5 });
  world.clock.advance(3000);
  expect(wrongView(world, truthOf(world))).toBeUndefined();
  return world;
}

const line = (world: World, a: number, b: number) => world.lines.find((line) => line.a === a && line.b === b)!;

/** Who gets what a node sends to everybody, and how often. */
function floodFrom(world: World, source: number): number[] {
  const frame = world.traffic.send(source, 0)!;
  world.clock.advance(1000);
  return [...world.places.keys()].map((node) => world.traffic.got(frame, node));
}

/** Does a frame arrive, and by how many hops? */
function arrives(world: World, source: number, destination: number): boolean {
  const frame = world.traffic.send(source, destination)!;
  world.clock.advance(1000);
  return world.traffic.got(frame, destination) === 1;
}

test('a ring that is cut is a line, within a fifth of a second and the way of the news', () => {
  const world = lan({ kind: 'ring' }, 20);
  expect(arrives(world, 1, 20)).toBe(true);
  world.cut(line(world, 1, 20));
  world.clock.advance(200 + 19 * (5 + 5));
  expect(wrongView(world, truthOf(world))).toBeUndefined();
  expect(arrives(world, 1, 20)).toBe(true);
  expect(world.traffic.mostHops).toBe(19);
  expect(floodFrom(world, 1).slice(1)).toEqual(Array.from({ length: 19 }, () => 1));
  world.dispose();
});

test('a ring with a link that is dead and silent is a line after a second and a half', () => {
  const world = lan({ kind: 'ring' }, 20);
  world.silence(line(world, 1, 20));
  expect(arrives(world, 1, 20)).toBe(false);
  world.clock.advance(500 + 200 + 19 * (5 + 5));
  expect(arrives(world, 1, 20)).toBe(true);
  world.dispose();
});

test('a star without its hub is silent, and whole when the hub starts again', () => {
  const world = lan({ kind: 'star' }, 12);
  world.kill(1, false);
  world.clock.advance(2000);
  const before = world.drops().get('unreachable')!;
  expect(arrives(world, 2, 3)).toBe(false);
  expect(world.drops().get('unreachable')).toBe(before + 1);
  world.restart(1);
  world.clock.advance(3000);
  expect(wrongView(world, truthOf(world))).toBeUndefined();
  expect(floodFrom(world, 2)).toEqual(Array.from({ length: 12 }, (_, i) => (i === 1 ? 0 : 1)));
  world.dispose();
});

test('two stars that are joined twice stay joined when one joint goes', () => {
  const leaves = (hub: number, from: number) => Array.from({ length: 5 }, (_, i): Edge => [hub, from + i]);
  const edges: Edge[] = [[1, 2], [3, 8], ...leaves(1, 3), ...leaves(2, 8)];
  const world = lan({ kind: 'edges', edges }, 12);
  world.cut(line(world, 1, 2));
  world.clock.advance(300);
  expect(arrives(world, 7, 12)).toBe(true);
  expect(floodFrom(world, 7).filter((times) => times === 1)).toHaveLength(11);
  world.dispose();
});

test('in a mesh of thirty a dear link is gone round, and not a frame is lost', () => {
  const world = lan({ kind: 'mesh' }, 30);
  const frames = [];
  for (let i = 0; i < 100; i++) {
    if (i % 10 === 0) world.changeCost(line(world, 1, 2), i % 20 === 0 ? 9000 : 60);
    frames.push(world.traffic.send(1, 2)!);
    world.clock.advance(37);
  }
  world.clock.advance(1000);
  expect(frames.filter((frame) => world.traffic.got(frame, 2) !== 1)).toEqual([]);
  expect(world.traffic.mostHops).toBe(2);
  world.dispose();
});

test('a line of ten carries frames from end to end, and loses one half when it is cut', () => {
  const edges = Array.from({ length: 9 }, (_, i): Edge => [i + 1, i + 2]);
  const world = lan({ kind: 'edges', edges }, 10);
  expect(arrives(world, 1, 10)).toBe(true);
  expect(world.traffic.mostHops).toBe(9);
  world.cut(line(world, 5, 6));
  world.clock.advance(1000);
  expect([arrives(world, 1, 10), arrives(world, 1, 5), arrives(world, 10, 6)]).toEqual([false, true, true]);
  world.heal(line(world, 5, 6));
  world.clock.advance(3000);
  expect(floodFrom(world, 1).slice(1)).toEqual(Array.from({ length: 9 }, () => 1));
  world.dispose();
});
