/** Who gets what next: shortest paths and one flood tree per source, the same on every node that knows the same edges. Pure. */
import type { Edge } from './topology.ts';

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
  /** Hops to the farthest node that can be reached. */
  readonly radius: number;
}

interface Tree {
  readonly parent: number | undefined;
  readonly children: readonly number[];
  readonly depth: number;
  readonly parentOf: (node: number) => number | undefined;
  /** Remembered answers of previousHop by source. */
  readonly previous: Map<number, number | undefined>;
}

const NO_TREE: Tree = {
  parent: undefined,
  children: [],
  depth: 0,
  parentOf: () => undefined,
  previous: new Map(),
};

/**
 * The tree of a source holds its shortest paths; of several possible parents a node takes the lowest. Nothing else enters, so
 * all nodes build the same trees without talking. The next hop towards `d` is our parent in the tree of `d`: one step nearer
 * to it at each hop, hence free of loops.
 */
export function createRoutes(edges: readonly Edge[], self: number): Routes {
  const around = adjacency(edges);
  const trees = new Map<number, Tree>();

  function treeOf(source: number): Tree {
    if (!around.has(source)) return NO_TREE;
    // Lazy: one source costs one breadth-first search, and most nodes hear only a few sources.
    let tree = trees.get(source);
    if (!tree) trees.set(source, (tree = growTree(around, source, self)));
    return tree;
  }

  return {
    nodes: new Set([...around.keys(), self]),
    neighbours: around.get(self) ?? [],
    nextHop: (destination) => treeOf(destination).parent,
    parent: (source) => treeOf(source).parent,
    previousHop(source, destination) {
      if (!around.has(source)) return undefined;
      const tree = treeOf(destination);
      if (tree === NO_TREE) return undefined;
      if (!tree.previous.has(source)) tree.previous.set(source, hopBefore(tree, source, self));
      return tree.previous.get(source);
    },
    children: (source) => treeOf(source).children,
    get radius() {
      return treeOf(self).depth;
    },
  };
}

/** From `source` towards the root of the tree, until the next step is `self`. */
function hopBefore(tree: Tree, source: number, self: number): number | undefined {
  for (let at: number | undefined = source; at !== undefined; at = tree.parentOf(at)) {
    if (tree.parentOf(at) === self) return at;
  }
  return undefined;
}

function adjacency(edges: readonly Edge[]): Map<number, number[]> {
  const around = new Map<number, Set<number>>();
  const join = (from: number, to: number) => {
    const known = around.get(from);
    if (known) known.add(to);
    else around.set(from, new Set([to]));
  };
  for (const [a, b] of edges) {
    if (a === b) continue;
    join(a, b);
    join(b, a);
  }
  return new Map([...around].map(([node, set]) => [node, [...set].sort((a, b) => a - b)]));
}

function growTree(around: ReadonlyMap<number, readonly number[]>, source: number, self: number): Tree {
  const distance = new Map([[source, 0]]);
  const order = [source];
  for (const node of order) {
    for (const next of around.get(node) ?? []) {
      if (distance.has(next)) continue;
      distance.set(next, distance.get(node)! + 1);
      order.push(next);
    }
  }
  const parentOf = (node: number) => {
    const nearer = (distance.get(node) ?? 0) - 1;
    return around.get(node)?.find((other) => distance.get(other) === nearer);
  };
  return {
    parent: parentOf(self),
    children: (around.get(self) ?? []).filter((node) => parentOf(node) === self),
    depth: distance.get(order.at(-1)!)!,
    parentOf,
    previous: new Map(),
  };
}
