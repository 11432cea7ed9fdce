/** Routes on random graphs with random costs: all nodes agree, floods reach everybody once, unicast takes a cheapest path. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRoutes, type Routes } from '../../../src/net/routes.ts';
import type { LiveEdge } from '../../../src/net/topology.ts';

interface Graph {
  readonly nodes: number[];
  readonly edges: LiveEdge[];
}

/** Few different costs make many ties. */
const cost = fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 65_535 }));
const size = fc.oneof(fc.constant(Infinity), fc.integer({ min: 12_000, max: 262_144 }));

/** A random tree over 2 to 30 nodes with arbitrary numbers, and some edges on top. */
const graphs: fc.Arbitrary<Graph> = fc
  .uniqueArray(fc.integer({ min: 1, max: 60_000 }), { minLength: 2, maxLength: 30 })
  .chain((nodes) =>
    fc
      .tuple(
        fc.tuple(...nodes.slice(1).map((_, i) => fc.tuple(fc.nat({ max: i }), cost, size))),
        fc.array(fc.tuple(fc.nat({ max: nodes.length - 1 }), fc.nat({ max: nodes.length - 1 }), cost, size), {
          maxLength: 40,
        }),
      )
      .map(([tree, extra]) => ({
        nodes,
        edges: [
          ...tree.map(([parent, ...rest], i): LiveEdge => [nodes[i + 1]!, nodes[parent]!, ...rest]),
          ...extra.map(([a, b, ...rest]): LiveEdge => [nodes[a]!, nodes[b]!, ...rest]),
        ],
      })),
  );

const routesOf = (graph: Graph) =>
  new Map<number, Routes>(graph.nodes.map((node) => [node, createRoutes(graph.edges, node)]));

/** The same by another algorithm (Bellman and Ford): cost and hops of the best path, and the hops of each link by its cost. */
function distances(edges: readonly LiveEdge[], from: number): Map<number, readonly [cost: number, hops: number]> {
  const best = new Map<number, readonly [number, number]>([[from, [0, 0]]]);
  for (let changed = true; changed;) {
    changed = false;
    for (const [a, b, cost = 1] of edges.flatMap(([a, b, ...rest]): LiveEdge[] => [
      [a, b, ...rest],
      [b, a, ...rest],
    ])) {
      const [reached, hops] = best.get(a) ?? [Infinity, 0];
      const [known, least] = best.get(b) ?? [Infinity, Infinity];
      const through = reached + cost;
      if (through < known || (through === known && through < Infinity && hops + 1 < least)) {
        best.set(b, [through, hops + 1]);
        changed = true;
      }
    }
  }
  return best;
}

/** The nodes on the way of a unicast batch; throws when it goes round. */
function wayOf(routes: ReadonlyMap<number, Routes>, source: number, destination: number): number[] {
  const way = [source];
  for (const at of way) {
    if (at === destination) return way;
    const next = routes.get(at)!.nextHop(destination);
    if (next !== undefined) way.push(next);
    if (way.length > routes.size) throw new Error(`a loop: ${way.join(' ')}`);
  }
  return way;
}

const cheapest = (edges: readonly LiveEdge[], a: number, b: number): LiveEdge => {
  const between = edges.filter(([c, d]) => (a === c && b === d) || (a === d && b === c));
  const cost = Math.min(...between.map(([, , cost = 1]) => cost));
  return [a, b, cost, Math.min(...between.map(([, , , most = Infinity]) => most))];
};

describe('routes', () => {
  test('a flood reaches every node exactly once and passes every check of the reverse path', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const routes = routesOf(graph);
        for (const source of graph.nodes) {
          const reached = [source];
          for (const node of reached) {
            for (const child of routes.get(node)!.children(source)) {
              expect(routes.get(child)!.parent(source)).toBe(node);
              reached.push(child);
              if (reached.length > graph.nodes.length) throw new Error('a loop');
            }
          }
          expect(new Set(reached)).toEqual(new Set(graph.nodes));
          expect(reached).toHaveLength(graph.nodes.length);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('unicast takes a cheapest path, of these one with fewest hops, and every node on it knows the one before', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const routes = routesOf(graph);
        for (const source of graph.nodes) {
          const best = distances(graph.edges, source);
          expect(routes.get(source)!.radius).toBe(Math.max(...[...best.values()].map(([, hops]) => hops)));
          for (const destination of graph.nodes) {
            const way = wayOf(routes, source, destination);
            const steps = way.slice(1).map((node, i) => cheapest(graph.edges, way[i]!, node));
            const cost = steps.reduce((sum, [, , cost]) => sum + cost!, 0);
            expect([way.at(-1), cost, steps.length]).toEqual([destination, ...best.get(destination)!]);
            expect(routes.get(source)!.limit(destination)).toBe(Math.min(...steps.map(([, , , most]) => most!)));
            for (const [i, node] of way.slice(1).entries()) {
              expect(routes.get(node)!.previousHop(source, destination)).toBe(way[i]);
            }
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  test('a node that is not on the way has no previous hop', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const routes = routesOf(graph);
        for (const source of graph.nodes) {
          for (const destination of graph.nodes) {
            const way = new Set(wayOf(routes, source, destination));
            const beside = graph.nodes.filter((node) => !way.has(node));
            const hops = beside.map((node) => routes.get(node)!.previousHop(source, destination));
            expect(hops).toEqual(beside.map(() => undefined));
          }
        }
      }),
      { numRuns: 20 },
    );
  });

  test('who says what first does not matter: order, direction and doubles of links change nothing', () => {
    const shuffled = graphs.chain((graph) =>
      fc.tuple(
        fc.constant(graph),
        fc.shuffledSubarray([...graph.edges, ...graph.edges], { minLength: graph.edges.length * 2 }),
      ),
    );
    fc.assert(
      fc.property(shuffled, ([graph, edges]) => {
        const turned = edges.map(([a, b, ...rest]): LiveEdge => [b, a, ...rest]);
        for (const node of graph.nodes) {
          const [left, right] = [createRoutes(graph.edges, node), createRoutes(turned, node)];
          const told = (routes: Routes) =>
            graph.nodes.map((other) => [routes.nextHop(other), routes.limit(other), routes.children(other)]);
          expect(told(right)).toEqual(told(left));
          expect(right.neighbours).toEqual(left.neighbours);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('a change of costs never disconnects anybody', () => {
    const changed = graphs.chain((graph) =>
      fc.tuple(fc.constant(graph), fc.array(cost, { minLength: graph.edges.length, maxLength: graph.edges.length })),
    );
    fc.assert(
      fc.property(changed, ([graph, costs]) => {
        const edges = graph.edges.map(([a, b], i): LiveEdge => [a, b, costs[i]!]);
        const routes = routesOf({ nodes: graph.nodes, edges });
        for (const source of graph.nodes) {
          for (const destination of graph.nodes) {
            expect(wayOf(routes, source, destination).at(-1)).toBe(destination);
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  test('a dear direct link is gone round', () => {
    const routes = createRoutes(
      [
        [1, 2, 500],
        [2, 3, 100],
        [1, 3, 100, 12_000],
      ],
      1,
    );
    expect(routes.nextHop(2)).toBe(3);
    expect([routes.limit(3), routes.limit(2), routes.limit(1), routes.limit(9)]).toEqual([
      12_000,
      12_000,
      Infinity,
      Infinity,
    ]);
    expect(routes.radius).toBe(2);
  });

  test('a cost of nothing counts as one, or else two nodes could send a batch back and forth', () => {
    const edges: LiveEdge[] = [
      [1, 2, 0],
      [2, 3, 0],
      [3, 4, 0],
      [1, 4, 2],
    ];
    const routes = routesOf({ nodes: [1, 2, 3, 4], edges });
    expect(wayOf(routes, 1, 4)).toEqual([1, 4]);
    expect(wayOf(routes, 1, 3)).toEqual([1, 2, 3]);
  });

  test('what cannot be reached has no next hop', () => {
    const routes = createRoutes(
      [
        [1, 2],
        [3, 4],
      ],
      1,
    );
    expect(routes.nextHop(3)).toBeUndefined();
    expect(routes.nextHop(9)).toBeUndefined();
    expect(routes.parent(4)).toBeUndefined();
    expect([routes.previousHop(4, 1), routes.previousHop(9, 1), routes.previousHop(2, 9)]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(routes.children(4)).toEqual([]);
  });

  test('a node without links is alone', () => {
    const routes = createRoutes([], 5);
    expect([...routes.nodes]).toEqual([5]);
    expect(routes.radius).toBe(0);
    expect(routes.children(5)).toEqual([]);
  });
});
