/** What a LAN should look like, found out without the code under test: who can reach whom, and how long news travels. */
import type { LiveEdge } from '../../src/net/topology.ts';
import type { Line, Place, World } from './world.ts';

export interface Truth {
  readonly edges: readonly LiveEdge[];
  /** The island that a node is on. */
  readonly island: (node: number) => number;
}

export function truthOf(world: World): Truth {
  const edges = world.truth();
  const above = new Map<number, number>();
  const find = (node: number): number => {
    let at = node;
    for (let up = above.get(at); up !== undefined && up !== at; up = above.get(at)) at = up;
    return at;
  };
  for (const [a, b] of edges) above.set(find(a), find(b));
  const islands = new Map([...world.places.keys()].map((node) => [node, find(node)]));
  return { edges, island: (node) => islands.get(node)! };
}

/** A number for each state of each link; sums of a few hundred stay exact. */
const markOf = (edge: LiveEdge) => (nameOf(edge) % 4_294_967_291) + 1;

const nameOf = ([a, b, cost]: LiveEdge) => (a * 65_536 + b) * 65_536 + (cost ?? 1);

/** The first node whose view of its own island is not the truth, and how it differs. */
export function wrongView(world: World, truth: Truth): string | undefined {
  const sums = new Map<number, number>();
  for (const edge of truth.edges) {
    const island = truth.island(edge[0]);
    sums.set(island, (sums.get(island) ?? 0) + markOf(edge));
  }
  for (const place of world.places.values()) {
    if (!place.alive) continue;
    const mine = truth.island(place.number);
    let sum = 0;
    for (const edge of place.state.edges) if (truth.island(edge[0]) === mine) sum += markOf(edge);
    if (sum !== (sums.get(mine) ?? 0)) return difference(place, truth);
  }
  return undefined;
}

function difference({ number, state }: Place, { edges, island }: Truth): string {
  const right = new Set(edges.filter(([a]) => island(a) === island(number)).map(nameOf));
  const seen = state.edges.filter(([a]) => island(a) === island(number));
  const wrong = seen.filter((edge) => !right.has(nameOf(edge)));
  return `node ${number} sees ${seen.length} of ${right.size} links, ${wrong.length} of them wrong`;
}

/** Milliseconds until news from some node has reached all others on its island: links, and a pause at each hop. */
export function newsTime(lines: readonly Line[], from: readonly number[], perHop: number): number {
  const at = new Map<number, number>(from.map((node) => [node, 0]));
  const around = new Map<number, Line[]>();
  for (const line of lines) {
    if (line.state !== 'up') continue;
    for (const node of [line.a, line.b]) around.set(node, [...(around.get(node) ?? []), line]);
  }
  const open = [...from];
  for (const node of open) {
    for (const line of around.get(node) ?? []) {
      const other = line.a === node ? line.b : line.a;
      const arrives = at.get(node)! + line.latency + perHop;
      if (arrives >= (at.get(other) ?? Infinity)) continue;
      at.set(other, arrives);
      open.push(other);
    }
  }
  return Math.max(...at.values());
}
