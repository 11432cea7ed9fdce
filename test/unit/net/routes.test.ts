/** Routes on random connected graphs: floods reach everybody once, unicast takes a shortest path. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRoutes, type Routes } from '../../../src/net/routes.ts';
import type { Edge } from '../../../src/net/topology.ts';

/** A random tree over 2 to 30 nodes with arbitrary numbers, and some edges on top. */
const graphs = fc.uniqueArray(fc.integer({ min: 1, max: 60_000 }), { minLength: 2, maxLength: 30 }).chain((nodes) =>
  fc
    .tuple(
      fc.tuple(...nodes.slice(1).map((_, i) => fc.nat({ max: i }))),
      fc.array(fc.tuple(fc.nat({ max: nodes.length - 1 }), fc.nat({ max: nodes.length - 1 })), { maxLength: 40 }),
    )
    .map(([parents, extra]) => ({
      nodes,
      edges: [
        ...parents.map((parent, i): Edge => [nodes[i + 1]!, nodes[parent]!]),
        ...extra.map(([a, b]): Edge => [nodes[a]!, nodes[b]!]),
      ],
    })),
);

const routesOf = (graph: { nodes: number[]; edges: Edge[] }) =>
  new Map<number, Routes>(graph.nodes.map((node) => [node, createRoutes(graph.edges, node)]));

function distances(edges: readonly Edge[], from: number): Map<number, number> {
  const distance = new Map([[from, 0]]);
  for (let changed = true; changed;) {
    changed = false;
    for (const [a, b] of [...edges, ...edges.map(([a, b]): Edge => [b, a])]) {
      const next = (distance.get(a) ?? Infinity) + 1;
      if (next < (distance.get(b) ?? Infinity)) {
        distance.set(b, next);
        changed = true;
      }
    }
  }
  return distance;
}

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

  test('unicast arrives along a shortest path, and the radius is the longest of them', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const routes = routesOf(graph);
        for (const source of graph.nodes) {
          const distance = distances(graph.edges, source);
          expect(routes.get(source)!.radius).toBe(Math.max(...distance.values()));
          for (const destination of graph.nodes) {
            let at = source;
            let hops = 0;
            for (
              let next = routes.get(at)!.nextHop(destination);
              next !== undefined;
              next = routes.get(at)!.nextHop(destination)
            ) {
              expect(routes.get(next)!.previousHop(source, destination)).toBe(at);
              at = next;
              hops++;
              if (hops > graph.nodes.length) throw new Error('a loop');
            }
            expect([at, hops]).toEqual([destination, distance.get(destination)]);
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
            const way = new Set<number>();
            for (let at: number | undefined = source; at !== undefined; at = routes.get(at)!.nextHop(destination))
              way.add(at);
            const beside = graph.nodes.filter((node) => !way.has(node));
            const hops = beside.map((node) => routes.get(node)!.previousHop(source, destination));
            expect(hops).toEqual(beside.map(() => undefined));
          }
        }
      }),
      { numRuns: 20 },
    );
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
