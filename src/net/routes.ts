/** Who gets what next: shortest paths and one flood tree per source, the same on every node that knows the same edges. Pure. */
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

/** Nodes by their rank among all node numbers: trees fit small arrays, and the lower rank is the lower number. */
type Rank = number;

/** Numbers of nodes are u16 and 0xffff means everybody (batch.ts), so no node has this rank. */
const NONE: Rank = 0xffff;

/** Adjacency lists one behind the other: those of a node are at first[rank] until last[rank], in order of rank. */
interface Adjacency {
  readonly numbers: readonly number[];
  readonly ranks: ReadonlyMap<number, Rank>;
  readonly first: Uint32Array;
  readonly last: Uint32Array;
  readonly to: Uint16Array;
  readonly length: Float64Array;
  readonly maxBatch: Float64Array;
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
 * A path's length is the sum of its costs and, second, its number of hops, in one number: of paths of equal cost the one with
 * fewest hops wins in both directions, which a ttl can rely on. 255 hops of the largest cost stay below 2^53.
 */
const COST = 65_536;
const HOP = 1;

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

function adjacency(edges: readonly LiveEdge[]): Adjacency {
  const present = new Set<number>();
  for (const [a, b] of edges) if (a !== b) present.add(a).add(b);
  const numbers = [...present].sort((a, b) => a - b);
  const ranks = new Map(numbers.map((number, rank) => [number, rank]));

  const first = new Uint32Array(numbers.length + 1);
  const ends = new Uint16Array(edges.length * 2);
  for (const [i, [a, b]] of edges.entries()) {
    const [left, right] = a === b ? [NONE, NONE] : [ranks.get(a)!, ranks.get(b)!];
    ends[2 * i] = left;
    ends[2 * i + 1] = right;
    if (left === NONE) continue;
    first[left + 1]!++;
    first[right + 1]!++;
  }
  for (let rank = 0; rank < numbers.length; rank++) first[rank + 1]! += first[rank]!;

  // Twice the same distribution (by node, then by neighbour) leaves each list in order, and doubles side by side.
  const half = new Uint32Array(first[numbers.length]!);
  const fill = first.slice(0, numbers.length);
  for (let end = 0; end < ends.length; end++) if (ends[end] !== NONE) half[fill[ends[end]!]!++] = end;

  const last = first.slice(0, numbers.length);
  const to = new Uint16Array(half.length);
  const length = new Float64Array(half.length);
  const maxBatch = new Float64Array(half.length);
  for (let rank = 0; rank < numbers.length; rank++) {
    for (let i = first[rank]!; i < first[rank + 1]!; i++) {
      const other = ends[half[i]! ^ 1]!;
      const [, , cost = 1, most = Infinity] = edges[half[i]! >> 1]!;
      const at = last[other]!;
      if (at > first[other]! && to[at - 1] === rank) {
        length[at - 1] = Math.min(length[at - 1]!, lengthOf(cost));
        maxBatch[at - 1] = Math.min(maxBatch[at - 1]!, most);
        continue;
      }
      to[at] = rank;
      length[at] = lengthOf(cost);
      maxBatch[at] = most;
      last[other] = at + 1;
    }
  }
  return { numbers, ranks, first, last, to, length, maxBatch };
}

/** No cost is below 1: a path must grow with each hop, or else two nodes could send a batch back and forth. */
const lengthOf = (cost: number): number => Math.max(1, cost) * COST + HOP;

/** What a search works with, kept from one to the next. */
let distance = new Float64Array(0);
let order = new Uint16Array(0);
/** The next step of each node towards the root. */
let parentOf = new Uint16Array(0);

/**
 * Dijkstra's algorithm. The nearest open node is found by looking at all of them: with at most a few hundred nodes that is
 * faster than a heap (test/bench/routing.ts), because open nodes stay in one short array.
 */
function growTree(graph: Adjacency, root: Rank, self: Rank): Tree {
  const { numbers, first, last, to, length } = graph;
  const count = numbers.length;
  if (distance.length < count) {
    distance = new Float64Array(count);
    order = new Uint16Array(count);
    parentOf = new Uint16Array(count);
  }
  distance.fill(Infinity, 0, count);
  parentOf.fill(NONE, 0, count);
  distance[root] = 0;
  // order: the nodes that are done, nearest first, then those that are open.
  order[0] = root;
  let known = 1;
  for (let done = 0; done < known; done++) {
    let nearest = done;
    for (let i = done + 1; i < known; i++) if (distance[order[i]!]! < distance[order[nearest]!]!) nearest = i;
    const node = order[nearest]!;
    order[nearest] = order[done]!;
    order[done] = node;
    const reached = distance[node]!;
    for (let i = first[node]!; i < last[node]!; i++) {
      const other = to[i]!;
      const through = reached + length[i]!;
      const before = distance[other]!;
      if (through < before) {
        if (before === Infinity) order[known++] = other;
        distance[other] = through;
        parentOf[other] = node;
      } else if (through === before && node < parentOf[other]!) {
        parentOf[other] = node;
      }
    }
  }
  const before = new Uint16Array(count).fill(NONE);
  const children: number[] = [];
  let depth = 0;
  for (let i = 1; i < known; i++) {
    const node = order[i]!;
    depth = Math.max(depth, distance[node]! % COST);
    const parent = parentOf[node]!;
    if (parent === self) children.push(numbers[node]!);
    before[node] = parent === self ? node : before[parent]!;
  }
  const parent = self === NONE ? NONE : parentOf[self]!;
  return {
    before,
    parent: parent === NONE ? undefined : numbers[parent],
    children: children.sort((a, b) => a - b),
    depth,
    limit: smallestOnTheWay(graph, self),
  };
}

function smallestOnTheWay({ first, last, to, maxBatch }: Adjacency, from: Rank): number {
  let smallest = Infinity;
  for (let at = from; at !== NONE && parentOf[at] !== NONE; at = parentOf[at]!) {
    let i = first[at]!;
    while (i < last[at]! && to[i] !== parentOf[at]) i++;
    smallest = Math.min(smallest, maxBatch[i]!);
  }
  return smallest;
}
