/** Who gets what next: shortest paths and one flood tree per source, the same on every node that knows the same edges. Pure. */
import { adjacency, NONE, search, type Adjacency, type Rank } from './dijkstra.ts';
import type { LiveEdge } from './topology.ts';

export interface Routes {
  readonly nodes: ReadonlySet<number>;
  /** Neighbours of this node, lowest first. */
  readonly neighbours: readonly number[];
  /** The neighbour on a shortest path to `destination`; undefined for ourselves and for what cannot be reached. */
  nextHop(destination: number): number | undefined;
  /** Our parent in the tree of `source`: floods of that source are accepted from nobody else. */
  parent(source: number): number | undefined;
  /** The neighbour that hands us what `source` sends to `destination`; undefined when we are not on that path. */
  previousHop(source: number, destination: number): number | undefined;
  /** To whom we pass on a flood of `source`. */
  children(source: number): readonly number[];
  /** The largest batch in bytes that every link on our path to `destination` takes; Infinity where none says. */
  limit(destination: number): number;
  /** Hops to the farthest node that can be reached. */
  readonly radius: number;
}

interface Tree {
  /** Through which neighbour of ours the way of each node to the root comes to us; NONE if it does not. */
  readonly before: Uint16Array;
  readonly parent: number | undefined;
  readonly children: readonly number[];
  readonly depth: number;
  readonly limit: number;
}

/**
 * The tree of a source holds its shortest paths; of several possible parents a node takes the lowest. Nothing else enters, so
 * all nodes build the same trees without talking. The next hop towards `d` is our parent in the tree of `d`: nearer to it at
 * each hop, hence free of loops. Everything is lazy: most nodes hear a few sources, and of a burst of changes only the last
 * graph is ever asked.
 */
export function createRoutes(edges: readonly LiveEdge[], self: number): Routes {
  let graph: Adjacency | undefined;
  let nodes: ReadonlySet<number> | undefined;
  let neighbours: readonly number[] | undefined;
  const trees: (Tree | undefined)[] = [];

  const around = () => (graph ??= adjacency(edges));

  function treeOf(root: number): Tree | undefined {
    const all = around();
    const rank = all.ranks.get(root);
    return rank === undefined ? undefined : (trees[rank] ??= growTree(all, rank, all.ranks.get(self) ?? NONE));
  }

  return {
    get nodes() {
      return (nodes ??= new Set([...around().numbers, self]));
    },
    get neighbours() {
      return (neighbours ??= neighboursOf(around(), self));
    },
    nextHop: (destination) => treeOf(destination)?.parent,
    parent: (source) => treeOf(source)?.parent,
    previousHop(source, destination) {
      const rank = around().ranks.get(source);
      const before = rank === undefined ? NONE : (treeOf(destination)?.before[rank] ?? NONE);
      return before === NONE ? undefined : around().numbers[before];
    },
    children: (source) => treeOf(source)?.children ?? [],
    limit: (destination) => treeOf(destination)?.limit ?? Infinity,
    get radius() {
      return treeOf(self)?.depth ?? 0;
    },
  };
}

function neighboursOf(graph: Adjacency, self: number): number[] {
  const rank = graph.ranks.get(self);
  if (rank === undefined) return [];
  return Array.from(graph.to.subarray(graph.first[rank], graph.last[rank]), (other) => graph.numbers[other]!);
}

/** Of the tree of `root`, what a node has to know. */
function growTree(graph: Adjacency, root: Rank, self: Rank): Tree {
  const { numbers } = graph;
  const { order, reached, parentOf, hopsTo } = search(graph, root);
  const before = new Uint16Array(numbers.length).fill(NONE);
  const children: number[] = [];
  let depth = 0;
  // The first is the root. Parents come before their children.
  for (let i = 1; i < reached; i++) {
    const node = order[i]!;
    const parent = parentOf[node]!;
    if (parent === self) children.push(numbers[node]!);
    before[node] = parent === self ? node : before[parent]!;
    depth = Math.max(depth, hopsTo(node));
  }
  const parent = self === NONE ? NONE : parentOf[self]!;
  return {
    before,
    parent: parent === NONE ? undefined : numbers[parent],
    children: children.sort((a, b) => a - b),
    depth,
    limit: smallestOnTheWay(graph, parentOf, self),
  };
}

function smallestOnTheWay({ first, last, to, maxBatch }: Adjacency, parentOf: Uint16Array, from: Rank): number {
  let smallest = Infinity;
  for (let at = from; at !== NONE && parentOf[at] !== NONE; at = parentOf[at]!) {
    let i = first[at]!;
    while (i < last[at]! && to[i] !== parentOf[at]) i++;
    smallest = Math.min(smallest, maxBatch[i]!);
  }
  return smallest;
}
