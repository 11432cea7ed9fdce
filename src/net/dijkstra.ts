/** Shortest paths from one node to all others, in small arrays. Pure; only routes.ts uses it. */
import type { LiveEdge } from './topology.ts';

/** Nodes by their rank among all node numbers: trees fit small arrays, and the lower rank is the lower number. */
export type Rank = number;

/** Numbers of nodes are u16 and 0xffff means everybody (batch.ts), so no node has this rank. */
export const NONE: Rank = 0xffff;

/** Adjacency lists one behind the other: those of a node are at first[rank] until last[rank], in order of rank. */
export interface Adjacency {
  readonly numbers: readonly number[];
  readonly ranks: ReadonlyMap<number, Rank>;
  readonly first: Uint32Array;
  readonly last: Uint32Array;
  readonly to: Uint16Array;
  readonly length: Float64Array;
  readonly maxBatch: Float64Array;
}

/**
 * A path's length is the sum of its costs and, second, its number of hops, in one number: of paths of equal cost the one with
 * fewest hops wins in both directions, which a ttl can rely on. 65,535 hops of the largest cost stay below 2^53.
 */
const COST = 65_536;
const HOP = 1;

/** Links that are listed twice count once, at their lower cost. */
export function adjacency(edges: readonly LiveEdge[]): Adjacency {
  // By index, not by destructuring: an iterator for each edge takes longer than all the rest.
  const present = new Set<number>();
  for (let i = 0; i < edges.length; i++) {
    const edge = edges[i]!;
    if (edge[0] !== edge[1]) present.add(edge[0]).add(edge[1]);
  }
  const numbers = [...present].sort((a, b) => a - b);
  const ranks = new Map<number, Rank>();
  for (let rank = 0; rank < numbers.length; rank++) ranks.set(numbers[rank]!, rank);

  const first = new Uint32Array(numbers.length + 1);
  const ends = new Uint16Array(edges.length * 2).fill(NONE);
  for (let i = 0; i < edges.length; i++) {
    const edge = edges[i]!;
    if (edge[0] === edge[1]) continue;
    const left = (ends[2 * i] = ranks.get(edge[0])!);
    const right = (ends[2 * i + 1] = ranks.get(edge[1])!);
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
      const edge = edges[half[i]! >> 1]!;
      const cost = edge[2] ?? 1;
      const most = edge[3] ?? Infinity;
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

/** Valid until the next search. */
export interface Found {
  /** The nodes that can be reached, nearest first; the root is the first. */
  readonly order: Uint16Array;
  readonly reached: number;
  /** The next step of each node towards the root. */
  readonly parentOf: Uint16Array;
  readonly hopsTo: (node: Rank) => number;
}

/** What a search works with, kept from one to the next. */
let distance = new Float64Array(0);
let order = new Uint16Array(0);
let parentOf = new Uint16Array(0);
/** The open nodes as a binary heap, the nearest on top, and where in it each of them is. */
let heap = new Uint16Array(0);
let place = new Uint16Array(0);

const hopsTo = (node: Rank) => distance[node]! % COST;

/**
 * Dijkstra's algorithm; of parents at equal distance the lowest. The heap makes all trees of a star or of a sparse mesh 1.5 to
 * 1.8 times faster than a search through the open nodes, and those of a full mesh 1.3 times slower (test/bench/routing.ts).
 */
export function search({ numbers, first, last, to, length }: Adjacency, root: Rank): Found {
  const count = numbers.length;
  if (distance.length < count) {
    distance = new Float64Array(count);
    order = new Uint16Array(count);
    parentOf = new Uint16Array(count);
    heap = new Uint16Array(count);
    place = new Uint16Array(count);
  }
  distance.fill(Infinity, 0, count);
  parentOf.fill(NONE, 0, count);
  distance[root] = 0;
  heap[0] = root;
  let open = 1;
  let reached = 0;
  while (open > 0) {
    const node: Rank = heap[0];
    order[reached++] = node;
    open--;
    if (open > 0) sink(heap[open]!, open);
    for (let i: number = first[node]!; i < last[node]!; i++) {
      const other = to[i]!;
      const through = distance[node]! + length[i]!;
      const known = distance[other]!;
      if (through < known) {
        distance[other] = through;
        parentOf[other] = node;
        rise(other, known === Infinity ? open++ : place[other]!);
      } else if (through === known && node < parentOf[other]!) {
        parentOf[other] = node;
      }
    }
  }
  return { order, reached, parentOf, hopsTo };
}

/** Moves a node up from place `at` until its parent in the heap is no farther. */
function rise(node: Rank, at: number): void {
  const mine = distance[node]!;
  while (at > 0) {
    const above = (at - 1) >> 1;
    const other = heap[above]!;
    if (distance[other]! <= mine) break;
    heap[at] = other;
    place[other] = at;
    at = above;
  }
  heap[at] = node;
  place[node] = at;
}

/** Puts a node at the top and moves it down until none below it is nearer. */
function sink(node: Rank, size: number): void {
  const mine = distance[node]!;
  let at = 0;
  for (let below = 1; below < size; below = 2 * at + 1) {
    if (below + 1 < size && distance[heap[below + 1]!]! < distance[heap[below]!]!) below++;
    const other = heap[below]!;
    if (distance[other]! >= mine) break;
    heap[at] = other;
    place[other] = at;
    at = below;
  }
  heap[at] = node;
  place[node] = at;
}
